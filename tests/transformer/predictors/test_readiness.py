from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from protocol.errors import NotReady
from tests.transformer.predictors.test_client import wait_until
from transformer.errors import ColdStartQueueFull, ColdStartTimeout
from transformer.metrics import TransformerMetrics
from transformer.predictors.readiness import (
    DEFAULT_START_S,
    INITIAL_RELEASE,
    ColdStartStatus,
    ReadinessGate,
    estimated_start_s,
    release_quota,
)

FAR = float("inf")


class Predictor:
    """Something that is up or not."""

    def __init__(self) -> None:
        self.up = False
        self.polls = 0

    async def is_up(self) -> bool:
        self.polls += 1
        await asyncio.sleep(0)
        return self.up


@pytest.fixture
def predictor() -> Predictor:
    return Predictor()


@pytest.fixture
def gate(predictor: Predictor, metrics: TransformerMetrics) -> ReadinessGate:
    return ReadinessGate(1_000, predictor.is_up, metrics)


async def wait(gate: ReadinessGate, timeout_s: float = FAR) -> list[ColdStartStatus]:
    now = time.monotonic()
    return [status async for status in gate.wait(now, now + timeout_s)]


def waits(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("yiwen_transformer_cold_start_waits_total", {"result": result})


async def test_requests_wait_only_between_unavailable_and_ready(
    gate: ReadinessGate, predictor: Predictor
) -> None:
    assert not gate.is_blocking
    gate.mark_unavailable()
    blocked: bool = gate.is_blocking
    assert blocked
    predictor.up = True
    await wait_until(lambda: not gate.is_blocking)
    assert predictor.polls == 1


async def test_one_probe_runs_for_all_waiters_who_are_released_when_it_succeeds(
    gate: ReadinessGate, predictor: Predictor, registry: CollectorRegistry
) -> None:
    gate.mark_unavailable()
    waiting = [asyncio.create_task(wait(gate)) for _ in range(100)]
    await wait_until(lambda: predictor.polls >= 2)
    assert registry.get_sample_value("yiwen_transformer_cold_start_waiters") == 100
    assert not any(task.done() for task in waiting)
    predictor.up = True
    await asyncio.gather(*waiting)
    assert predictor.polls <= 10
    assert waits(registry, "released") == 100
    assert registry.get_sample_value("yiwen_transformer_predictor_start_seconds_count") == 1
    await wait_until(lambda: not gate.is_blocking)


async def test_waiters_are_released_gradually_and_in_order(gate: ReadinessGate, predictor: Predictor) -> None:
    went: list[int] = []

    async def one(number: int) -> None:
        await wait(gate)
        went.append(number)

    gate.mark_unavailable()
    waiting = [asyncio.create_task(one(number)) for number in range(200)]
    await asyncio.sleep(0)
    predictor.up = True
    await wait_until(lambda: went)
    assert len(went) < 50
    await asyncio.gather(*waiting)
    assert went == sorted(went)


async def test_new_requests_do_not_prolong_the_release(
    predictor: Predictor, metrics: TransformerMetrics
) -> None:
    gate = ReadinessGate(50, predictor.is_up, metrics)

    async def arrive() -> None:
        if gate.is_blocking:  # as the router asks, when the request arrives
            await wait(gate)

    gate.mark_unavailable()
    waiting = {asyncio.create_task(arrive()) for _ in range(40)}
    predictor.up = True
    end = time.monotonic() + 10
    while gate.is_blocking:
        assert time.monotonic() < end
        if len([task for task in waiting if not task.done()]) < 50:
            waiting.add(asyncio.create_task(arrive()))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)


async def test_a_predictor_that_fails_again_gets_few_requests(
    gate: ReadinessGate, predictor: Predictor
) -> None:
    met = 0

    async def one() -> None:
        nonlocal met
        await wait(gate)
        met += 1
        predictor.up = False
        gate.mark_unavailable()

    gate.mark_unavailable()
    waiting = [asyncio.create_task(one()) for _ in range(500)]
    await asyncio.sleep(0)
    predictor.up = True
    await wait_until(lambda: met)
    polls = predictor.polls
    await wait_until(lambda: predictor.polls >= polls + 2)
    assert met <= 4 * INITIAL_RELEASE
    assert gate.is_blocking
    await gate.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(result, NotReady) for result in results) == 500 - met


async def test_a_waiter_that_times_out_gets_retry_after(
    gate: ReadinessGate, registry: CollectorRegistry
) -> None:
    gate.mark_unavailable()
    with pytest.raises(ColdStartTimeout, match=r"did not come up within 0\.[2-9]") as caught:
        await wait(gate, timeout_s=0.2)
    assert caught.value.retry_after_s == DEFAULT_START_S
    assert waits(registry, "given_up") == 1
    await gate.close()


async def test_a_request_beyond_the_limit_of_waiters_is_refused_at_once(
    predictor: Predictor, metrics: TransformerMetrics
) -> None:
    gate = ReadinessGate(2, predictor.is_up, metrics)
    gate.mark_unavailable()
    waiting = [asyncio.create_task(wait(gate)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ColdStartQueueFull, match="2 requests wait"):
        await wait(gate)
    waiting[0].cancel()  # a caller that leaves makes room
    await asyncio.gather(waiting[0], return_exceptions=True)
    waiting[0] = asyncio.create_task(wait(gate))
    await asyncio.sleep(0)
    predictor.up = True
    await asyncio.gather(*waiting)


async def test_items_come_at_once_and_then_each_second(gate: ReadinessGate, predictor: Predictor) -> None:
    gate.mark_unavailable()
    waiting = asyncio.create_task(wait(gate))
    await asyncio.sleep(1.3)
    predictor.up = True
    items = await waiting
    assert 2 <= len(items) <= 3
    assert items[0].waited_s < 0.5
    assert items[1].waited_s >= 1.0
    assert items[0].retry_after_s == DEFAULT_START_S


async def test_the_next_start_is_estimated_from_the_last(
    predictor: Predictor, metrics: TransformerMetrics
) -> None:
    now = 0.0
    gate = ReadinessGate(10, predictor.is_up, metrics, clock=lambda: now)
    for took_s in (30.0, 40.0, 50.0):
        predictor.up = False
        gate.mark_unavailable()
        now += took_s
        predictor.up = True
        await wait_until(lambda: not gate.is_blocking)
    predictor.up = False
    gate.mark_unavailable()
    assert gate.retry_after_s() == 40.0
    now += 35.0
    assert gate.retry_after_s() == 10.0
    now += 100.0
    assert gate.retry_after_s() == DEFAULT_START_S
    await gate.close()


async def test_probing_ends_some_time_after_the_last_waiter_left(
    predictor: Predictor, metrics: TransformerMetrics
) -> None:
    now = 0.0
    gate = ReadinessGate(10, predictor.is_up, metrics, clock=lambda: now)
    gate.mark_unavailable()
    await wait_until(lambda: predictor.polls >= 1)
    assert gate.is_blocking
    now += 31.0
    await wait_until(lambda: not gate.is_blocking)


async def test_a_closed_gate_refuses_requests(gate: ReadinessGate) -> None:
    gate.mark_unavailable()
    waiting = asyncio.create_task(wait(gate))
    await asyncio.sleep(0)
    await gate.close()
    with pytest.raises(NotReady, match="stopping"):
        await waiting
    with pytest.raises(NotReady, match="stopping"):
        gate.mark_unavailable()
    assert not gate.is_blocking


@given(st.floats(0, 100), st.floats(0, 100))
def test_the_release_quota_grows(passed: float, more: float) -> None:
    assert INITIAL_RELEASE <= release_quota(passed) <= release_quota(passed + more)


def test_a_thousand_waiters_are_released_within_a_second() -> None:
    assert release_quota(0.0) == INITIAL_RELEASE
    assert release_quota(0.8) >= 1_000


@given(st.lists(st.floats(0.0, 600.0), max_size=8), st.floats(0.0, 600.0))
def test_the_estimate_is_positive_and_within_past_starts(past: list[float], passed: float) -> None:
    estimate = estimated_start_s(past, passed)
    assert estimate >= 1.0
    assert estimate <= max([DEFAULT_START_S, *(took - passed for took in past)])
