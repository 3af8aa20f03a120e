"""Work that several wait for: joined, left, failed, cut by deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from transformer.generation.flights import GRACE_S, Flight, Flights, Late, Shared
from transformer.metrics import FlightMetrics

LONG_S = 60.0


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


class Workshop:
    """Work that does what the test says, and who did it."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, ...]] = []
        self.deadlines: list[float] = []
        self.cancelled = 0
        self.go = asyncio.Event()
        self.errors: list[Exception] = []

    async def work(self, keys: Sequence[str], flight: Flight[str, str]) -> None:
        self.runs.append(tuple(keys))
        self.deadlines.append(flight.deadline)
        try:
            await asyncio.wait_for(self.go.wait(), max(0.0, flight.deadline - time.monotonic()))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except asyncio.TimeoutError:
            raise Late from None
        if self.errors:
            raise self.errors.pop(0)
        for key in keys:
            flight.land(key, key.upper())


@pytest.fixture
def flights(registry: CollectorRegistry) -> Flights[str, str]:
    return Flights(FlightMetrics(registry))


@pytest.fixture
async def shop() -> Workshop:
    return Workshop()


@pytest.fixture
def count(registry: CollectorRegistry) -> Callable[[str], float]:
    def _count(kind: str) -> float:
        return registry.get_sample_value("yiwen_transformer_flights_total", {"kind": kind}) or 0.0

    return _count


def ask(
    flights: Flights[str, str], shop: Workshop, *keys: str, deadline: float | None = None
) -> asyncio.Task[list[Shared[str]]]:
    limit = in_seconds(LONG_S) if deadline is None else deadline
    return asyncio.create_task(flights.share(keys, limit, shop.work))


async def ticks(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_thousand_equal_ones_are_done_once(
    flights: Flights[str, str], shop: Workshop, count: Callable[[str], float]
) -> None:
    asked = [ask(flights, shop, "a") for _ in range(1_000)]
    await ticks()
    shop.go.set()
    answers = [answer for (answer,) in await asyncio.gather(*asked)]
    assert shop.runs == [("a",)]
    assert answers == [Shared("A", True), *[Shared("A", False)] * 999]
    assert count("joined") == 999


async def test_keys_of_several_flights_are_waited_for_together(
    flights: Flights[str, str], shop: Workshop
) -> None:
    first, second = ask(flights, shop, "a", "b"), ask(flights, shop, "c")
    await ticks()
    third = ask(flights, shop, "c", "x", "b", "y")
    await ticks()
    assert shop.runs == [("a", "b"), ("c",), ("x", "y")]
    shop.go.set()
    assert await third == [Shared("C", False), Shared("X", True), Shared("B", False), Shared("Y", True)]
    assert [*await first, *await second] == [Shared(key, True) for key in "ABC"]
    assert not any(map(flights.under_way, "abcxy"))


async def test_the_first_ones_leaving_is_nothing_to_the_others(
    flights: Flights[str, str], shop: Workshop
) -> None:
    first, second = ask(flights, shop, "a"), ask(flights, shop, "a")
    await ticks()
    first.cancel()
    await ticks()
    assert first.cancelled()
    shop.go.set()
    assert await second == [Shared("A", False)]
    assert (len(shop.runs), shop.cancelled) == (1, 0)


async def test_the_last_one_leaving_ends_the_work(
    flights: Flights[str, str], shop: Workshop, count: Callable[[str], float]
) -> None:
    asked = [ask(flights, shop, "a", "b"), ask(flights, shop, "b")]
    await ticks()
    asked[0].cancel()
    await ticks()
    assert shop.cancelled == 0
    asked[1].cancel()
    await ticks()
    assert shop.cancelled == 1
    assert count("abandoned") == 2
    again = ask(flights, shop, "b")
    shop.go.set()
    assert await again == [Shared("B", True)]


async def test_who_comes_while_abandoned_work_ends_waits_for_its_end(flights: Flights[str, str]) -> None:
    ending, ended, order = asyncio.Event(), asyncio.Event(), []

    async def slow_to_end(keys: Sequence[str], flight: Flight[str, str]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await ended.wait()
            order.append("ended")

    async def work(keys: Sequence[str], flight: Flight[str, str]) -> None:
        order.append("begun")
        flight.land("a", "A")

    first = asyncio.create_task(flights.share(["a"], in_seconds(LONG_S), slow_to_end))
    await ticks()
    first.cancel()
    second = asyncio.create_task(flights.share(["a"], in_seconds(LONG_S), work))
    await ending.wait()
    await ticks()
    assert order == []
    ended.set()
    assert await second == [Shared("A", True)]
    assert order == ["ended", "begun"]


async def test_a_failure_reaches_all_and_is_over_with_them(
    flights: Flights[str, str], shop: Workshop
) -> None:
    asked = [ask(flights, shop, "a") for _ in range(3)]
    shop.errors.append(ValueError("gone"))
    shop.go.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone"] * 3
    assert await ask(flights, shop, "a") == [Shared("A", True)]


async def test_what_failed_in_one_flight_ends_the_wait_for_another_of_which_nobody_is_left(
    flights: Flights[str, str], shop: Workshop
) -> None:
    failing = Workshop()
    failing.errors.append(ValueError("gone"))
    other = ask(flights, failing, "a")
    await ticks()
    both = ask(flights, shop, "a", "b")
    await ticks()
    failing.go.set()
    with pytest.raises(ValueError, match="gone"):
        await both
    with pytest.raises(ValueError, match="gone"):
        await other
    await ticks()
    assert shop.cancelled == 1


async def test_a_refusal_is_the_first_ones_alone(flights: Flights[str, str], shop: Workshop) -> None:
    """What is wrong with one text of the request that came first is no fault of its neighbours'."""
    asked = asyncio.Event()

    async def refuse(keys: Sequence[str], flight: Flight[str, str]) -> None:
        await asked.wait()
        flight.refuse(keys, ValueError("text 1 is too long"))

    first = asyncio.create_task(flights.share(["a", "bad"], in_seconds(LONG_S), refuse))
    await ticks()
    others = [ask(flights, shop, "x", "a") for _ in range(3)]
    await ticks()
    asked.set()
    with pytest.raises(ValueError, match="text 1"):
        await first
    await ticks()
    shop.go.set()
    answers = await asyncio.gather(*others)
    assert answers[0] == [Shared("X", True), Shared("A", True)]
    assert answers[1:] == [[Shared("X", False), Shared("A", False)]] * 2
    assert shop.runs == [("x",), ("a",)]


async def test_who_is_late_is_late_alone(flights: Flights[str, str], shop: Workshop) -> None:
    patient = ask(flights, shop, "a")
    await ticks()
    started = time.monotonic()
    with pytest.raises(Late):
        await ask(flights, shop, "a", deadline=in_seconds(0.05))
    assert time.monotonic() - started < 0.05 + GRACE_S
    shop.go.set()
    assert await patient == [Shared("A", True)]


async def test_who_has_more_time_than_the_first_one_is_not_cut_with_it(
    flights: Flights[str, str], shop: Workshop, count: Callable[[str], float]
) -> None:
    late = in_seconds(LONG_S)
    first = ask(flights, shop, "a", "b", deadline=in_seconds(0.1))
    await ticks()
    others = [ask(flights, shop, "b", deadline=late - number) for number in range(20)]
    with pytest.raises(Late):
        await first
    await ticks()
    shop.go.set()
    assert [answer for (answer,) in await asyncio.gather(*others)] == [Shared("B", False)] * 20
    assert shop.runs == [("a", "b"), ("b",)]
    assert shop.deadlines[1] == late
    assert count("repeated") == 1


async def test_what_landed_before_the_deadline_is_not_done_again(flights: Flights[str, str]) -> None:
    runs: list[Sequence[str]] = []

    async def work(keys: Sequence[str], flight: Flight[str, str]) -> None:
        runs.append(keys)
        if len(runs) == 1:
            flight.land("a", "A")
            await asyncio.sleep(max(0.0, flight.deadline - time.monotonic()))
        else:
            await asyncio.sleep(2 * GRACE_S)
            flight.land("b", "B")

    first = asyncio.create_task(flights.share(["a", "b"], in_seconds(0.1), work))
    await ticks()
    second = asyncio.create_task(flights.share(["b"], in_seconds(LONG_S), work))
    with pytest.raises(Late):
        await first
    assert await second == [Shared("B", False)]
    assert runs == [["a", "b"], ["b"]]


async def test_the_first_ones_work_may_end_a_little_after_its_deadline(flights: Flights[str, str]) -> None:
    """The predictor ends at the deadline by itself, and hands over what was finished."""

    async def work(keys: Sequence[str], flight: Flight[str, str]) -> None:
        await asyncio.sleep(max(0.0, flight.deadline - time.monotonic()) + GRACE_S / 5)
        for key in keys:
            flight.land(key, key.upper())

    assert await flights.share(["a"], in_seconds(0.05), work) == [Shared("A", True)]


async def test_closing_ends_all_that_is_under_way(flights: Flights[str, str], shop: Workshop) -> None:
    asked = [ask(flights, shop, "a"), ask(flights, shop, "b", "a")]
    await ticks()
    await flights.close(ValueError("stopping"))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["stopping"] * 2
    assert shop.cancelled == 2


async def test_work_that_is_cancelled_from_outside_leaves_nobody_waiting(flights: Flights[str, str]) -> None:
    async def work(keys: Sequence[str], flight: Flight[str, str]) -> None:
        raise asyncio.CancelledError

    with pytest.raises(Late):
        await flights.share(["a"], in_seconds(LONG_S), work)
