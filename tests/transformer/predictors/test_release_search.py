from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from transformer.metrics import TransformerMetrics
from transformer.predictors.discovery import Address
from transformer.predictors.release_search import ReleaseSearch

MAIN, LATEST, PREV = Address("main", "http://p"), Address("latest", "http://l"), Address("prev", "http://v")


class Cluster:
    """Which release is served where, and how often that was asked."""

    def __init__(self, metrics: TransformerMetrics, **serving: str | None) -> None:
        self.serving = serving
        self.asked: list[str] = []
        self.now = 0.0
        self.open = asyncio.Event()
        self.open.set()
        ask = {address: lambda name=address.name: self._ask(name) for address in (LATEST, PREV)}
        self.search = ReleaseSearch("mine", ask, metrics, ttl_s=60.0, clock=lambda: self.now)

    async def _ask(self, name: str) -> str | None:
        self.asked.append(name)
        await self.open.wait()
        return self.serving[name]


async def test_the_address_that_serves_the_release_is_found_and_remembered_for_a_while(
    metrics: TransformerMetrics, registry: CollectorRegistry
) -> None:
    cluster = Cluster(metrics, latest="other", prev="mine")
    assert cluster.search.current() is None
    assert await cluster.search.find(MAIN) == PREV
    cluster.now = 59.0
    assert cluster.search.current() == PREV
    cluster.now = 61.0
    assert cluster.search.current() is None
    found = registry.get_sample_value("yiwen_transformer_release_searches_total", {"result": "found"})
    assert found == 1


async def test_one_search_serves_all_who_need_it(metrics: TransformerMetrics) -> None:
    cluster = Cluster(metrics, latest="mine", prev="other")
    cluster.open.clear()
    finds = [asyncio.create_task(cluster.search.find(MAIN)) for _ in range(100)]
    await asyncio.sleep(0)
    for impatient in finds[:50]:
        impatient.cancel()
    await asyncio.sleep(0)
    cluster.open.set()
    assert await asyncio.gather(*finds[50:]) == [LATEST] * 50
    assert sorted(cluster.asked) == ["latest", "prev"]
    assert (
        await cluster.search.find(MAIN) == LATEST
    )  # one that was under way meanwhile: nothing is asked again
    assert len(cluster.asked) == 2


async def test_a_search_in_vain_is_not_repeated_at_once(metrics: TransformerMetrics) -> None:
    cluster = Cluster(metrics, latest="other", prev=None)
    assert await cluster.search.find(MAIN) is None
    cluster.serving["prev"] = "mine"
    cluster.now = 0.9
    assert await cluster.search.find(MAIN) is None
    assert len(cluster.asked) == 2
    cluster.now = 1.1
    assert await cluster.search.find(MAIN) == PREV


async def test_an_address_that_refuses_is_forgotten_and_the_tag_found_again(
    metrics: TransformerMetrics,
) -> None:
    cluster = Cluster(metrics, latest="mine", prev="other")
    assert await cluster.search.find(MAIN) == LATEST
    cluster.serving = {"latest": "newer", "prev": "mine"}  # a promotion
    assert await cluster.search.find(LATEST) == PREV
    cluster.search.invalidate(LATEST)  # told late by a request that was under way
    assert cluster.search.current() == PREV
    cluster.search.invalidate(PREV)
    assert cluster.search.current() is None


async def test_a_slow_address_does_not_hold_up_the_right_one(metrics: TransformerMetrics) -> None:
    never = asyncio.Event()

    async def silent() -> str | None:
        await never.wait()
        return None

    async def right() -> str | None:
        return "mine"

    search = ReleaseSearch("mine", {LATEST: silent, PREV: right}, metrics, ttl_s=1.0)
    assert await asyncio.wait_for(search.find(MAIN), 5) == PREV


@pytest.mark.parametrize(
    ("main_s", "main_release", "found"), [(0.1, "mine", MAIN), (5.0, "mine", LATEST), (0.1, "other", LATEST)]
)
async def test_the_main_address_is_preferred_if_it_answers_soon(
    metrics: TransformerMetrics, main_s: float, main_release: str, found: Address
) -> None:
    async def ask_main() -> str:
        await asyncio.sleep(main_s)
        return main_release

    async def ask_latest() -> str:
        return "mine"

    cluster = Cluster(metrics)
    began = time.monotonic()
    assert await cluster.search.find_ready(MAIN, {LATEST: ask_latest, MAIN: ask_main})
    assert (cluster.search.current() or MAIN) == found
    assert time.monotonic() - began < 2.0
