"""A change of release under load: no request fails, and no text is translated by two releases.

The new release's predictor is slow, or never comes; YIWEN_TEST_PREDICTOR_DELAY_S sets how slow (4 s).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.release_cluster import Pod, running_cluster
from tests.e2e.release_load import START_S, Answer, Load, until
from tests.ports import free_ports
from tests.releases import SPECIAL_TOKENS, build_random_release, byte_tokenizer
from tests.transformer.release import renumber
from tests.transformer.side import opening

pytestmark = pytest.mark.slow

DELAY_S = float(os.environ.get("YIWEN_TEST_PREDICTOR_DELAY_S", "4"))
FORMS = ("canary", "plain", "standard")
CHANGES = [(form, starts) for form in FORMS for starts in (True, False)]
AFTER_S = 10.0
"""Load goes on after the change, until the pods of the release before are gone."""


async def translations(references: list[Pod], texts: list[str]) -> dict[tuple[str, str], str]:
    """The translation of each text by each release, from predictors that no change concerns."""
    found: dict[tuple[str, str], str] = {}
    for pod in references:
        async with opening(pod.release, pod.url) as side:
            answers = await asyncio.gather(*map(side.translate, texts))
            found |= {(side.release, text): answer for text, answer in zip(texts, answers, strict=True)}
    return found


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two releases whose tokenizers disagree, so that a mixed text is noise."""
    directory = tmp_path_factory.mktemp("releases")
    other = renumber(byte_tokenizer(), len(SPECIAL_TOKENS))
    build_random_release(directory, name="a", seed=0)
    build_random_release(directory, name="b", seed=1, tokenizer=other)
    return [directory / "a", directory / "b"]


@pytest.fixture(scope="module")
def references(releases: list[Path]) -> Iterator[list[Pod]]:
    """A predictor of each release outside of the cluster."""
    ports = free_ports(len(releases))
    pods = [Pod("predictor", release, port) for release, port in zip(releases, ports, strict=True)]
    try:
        for pod in pods:
            pod.start(YIWEN_THREADS="1")
        yield pods
    finally:
        for pod in pods:
            pod.kill()


@dataclass(frozen=True)
class Change:
    """A change of release, as callers saw it."""

    answers: list[Answer]
    is_over: bool
    """Whether the new release had its pods in the end."""


async def change_release(releases: list[Path], form: str, ports: list[int], *, starts: bool) -> Change:
    """Change the release of a cluster under load.

    Args:
        releases: the old one and the new one.
        form: of the cluster.
        ports: free ones for its four pods.
        starts: whether the new release's predictor comes at all.
    """
    async with running_cluster(form, ports) as cluster, aiohttp.ClientSession() as session:
        await cluster.apply(releases[0])
        await until(cluster, "is_up", START_S)
        async with Load(session, cluster.url, (f"item {number}" for number in count())) as load:
            await asyncio.sleep(1.0)
            await cluster.apply(releases[1], predictor_delay_s=DELAY_S if starts else None)
            await until(cluster, "is_over" if starts else "is_new_transformer_live", START_S)
            await asyncio.sleep(AFTER_S if starts else AFTER_S + DELAY_S)
            return Change(await load.stop(), cluster.is_over)


@pytest.fixture(scope="module")
def changes(releases: list[Path]) -> dict[tuple[str, bool], Change | BaseException]:
    """All changes, made beside each other: most of each is waiting."""

    ports = free_ports(4 * len(CHANGES))

    async def make() -> list[Change | BaseException]:
        made = (
            change_release(releases, form, ports[4 * number : 4 * number + 4], starts=starts)
            for number, (form, starts) in enumerate(CHANGES)
        )
        return await asyncio.gather(*made, return_exceptions=True)

    return dict(zip(CHANGES, asyncio.run(make()), strict=True))


@pytest.fixture(scope="module")
def expected(
    references: list[Pod], changes: dict[tuple[str, bool], Change | BaseException]
) -> dict[tuple[str, str], str]:
    """The translation of each text that was sent, by release and text."""
    made = [change for change in changes.values() if isinstance(change, Change)]
    texts = {answer.text for change in made for answer in change.answers}
    return asyncio.run(translations(references, sorted(texts)))


@pytest.mark.timeout(600 + 2 * DELAY_S)
@pytest.mark.parametrize("starts", [True, False], ids=["slow", "never"])
@pytest.mark.parametrize("form", FORMS)
def test_a_release_change_fails_no_request_and_mixes_no_text(
    changes: dict[tuple[str, bool], Change | BaseException],
    expected: dict[tuple[str, str], str],
    form: str,
    starts: bool,
) -> None:
    change = changes[form, starts]
    if isinstance(change, BaseException):
        raise change
    assert change.is_over == starts
    answers = change.answers
    failed = [answer for answer in answers if answer.status != 200]
    served = {answer.release for answer in answers}
    print(f"{form}: {len(answers)} requests, {len(failed)} failed, by releases {sorted(served)}")
    assert not failed, (len(failed), len(answers), failed[:3])
    assert len(served) == (2 if starts else 1)
    mixed = [each for each in answers if each.translation != expected[each.release, each.text]]
    assert not mixed, (len(mixed), mixed[:3])
