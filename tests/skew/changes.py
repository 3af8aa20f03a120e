"""Upgrades and rollbacks under load, with one Redis: both components at once, as KServe changes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import aiohttp

from protocol.release import load_release
from tests.e2e.release_cluster import Cluster, running_cluster
from tests.e2e.release_load import START_S, Answer, Load, until
from tests.ports import free_ports
from tests.skew.versions import Version

FORMS = ("canary", "plain", "standard")
BEFORE_S, AFTER_S = 2.0, 12.0
"""Load before the change, and after it until the pods of the version before are gone."""


@dataclass(frozen=True)
class Side:
    """A version on a release."""

    version: Version
    release: Path


@dataclass(frozen=True)
class Change:
    """From one side to another."""

    name: str
    before: Side
    after: Side
    must_hold: bool = True
    """False: requests are known to fail, by the version before; the guide says so."""


@dataclass(frozen=True)
class ChangeResult:
    """What callers got while a cluster changed."""

    change: Change
    form: str
    answers: Sequence[Answer]

    @property
    def failed(self) -> list[Answer]:
        """Answers that are none."""
        return [each for each in self.answers if each.status != 200]

    def wrong(self, expected: dict[tuple[str, str], set[str]]) -> list[Answer]:
        """Answers that neither version gives for their text, by release id and text."""
        good = [each for each in self.answers if each.status == 200]
        return [each for each in good if each.translation not in expected[each.release, each.text]]

    def by_release(self) -> str:
        """How many answers each release gave."""
        counts = Counter(each.release for each in self.answers if each.status == 200)
        return ", ".join(f"{number} x {release[:6]}" for release, number in counts.items())


def make(change: Change, titles: Sequence[str], redis: str) -> list[ChangeResult]:
    """Make a change in every form of cluster, beside each other."""
    ports = free_ports(4 * len(FORMS))

    async def in_all_forms() -> list[ChangeResult]:
        return await asyncio.gather(
            *(
                _make(change, form, ports[4 * number : 4 * number + 4], titles, redis)
                for number, form in enumerate(FORMS)
            )
        )

    return asyncio.run(in_all_forms())


async def _make(
    change: Change, form: str, ports: list[int], titles: Sequence[str], redis: str
) -> ChangeResult:
    settings = {"YIWEN_CACHE_BYTES": "0", "YIWEN_REDIS_URL": redis}
    async with running_cluster(form, ports, settings) as cluster, aiohttp.ClientSession() as session:
        await _apply(cluster, change.before)
        await until(cluster, "is_up", START_S)
        async with Load(session, cluster.url, _texts(titles)) as load:
            await asyncio.sleep(BEFORE_S)
            await _apply(cluster, change.after)
            await until(cluster, "is_over", START_S)
            await asyncio.sleep(AFTER_S)
            return ChangeResult(change, form, await load.stop())


async def _apply(cluster: Cluster, side: Side) -> None:
    services = side.version.takes("YIWEN_PREDICTOR_DISCOVERY")
    await cluster.apply(side.release, checkout=side.version.other_checkout, services=services)


def _texts(titles: Sequence[str]) -> Iterator[str]:
    """A title for the first time and, where there is one, a title of some time ago, in turns: misses and hits."""
    return chain.from_iterable(
        (titles[number % len(titles)], titles[max(0, number - 20) % len(titles)]) for number in count()
    )


def changes(releases: dict[str, Path], old: Version, new: Version) -> list[Change]:
    """Those that people make."""
    same, newest = releases["built by old"], releases["built by new"]
    sides = Side(old, same), Side(new, same), Side(new, newest)
    listed = [
        Change("upgrade, same release", sides[0], sides[1]),
        Change("rollback, same release", sides[1], sides[0]),
        Change("new release after the upgrade", sides[1], sides[2]),
    ]
    if load_release(same).id != load_release(newest).id:
        listed.append(Change("upgrade with a new release", sides[0], sides[2], must_hold=False))
        listed.append(Change("rollback with the release before", sides[2], sides[0], must_hold=False))
    return listed
