"""Work that several wait for: joined, left, failed, cut by deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from protocol.deadline import GRACE_S, Deadline
from transformer.generation.single_flight import DeadlinePassed, SharedCall, SharedResult, SingleFlight
from transformer.metrics import SingleFlightMetrics

LONG_S = 60.0


class ControlledWork:
    """Work that does what the test says, and who did it."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, ...]] = []
        self.deadlines: list[Deadline] = []
        self.cancelled = 0
        self.go = asyncio.Event()
        self.errors: list[Exception] = []

    async def work(self, keys: Sequence[str], call: SharedCall[str, str]) -> None:
        self.runs.append(tuple(keys))
        self.deadlines.append(call.deadline)
        try:
            await asyncio.wait_for(self.go.wait(), max(0.0, call.deadline.remaining_s()))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except asyncio.TimeoutError:
            raise DeadlinePassed from None
        if self.errors:
            raise self.errors.pop(0)
        for key in keys:
            call.resolve(key, key.upper())


@pytest.fixture
def single_flight(registry: CollectorRegistry) -> SingleFlight[str, str]:
    return SingleFlight(SingleFlightMetrics(registry))


@pytest.fixture
async def work() -> ControlledWork:
    return ControlledWork()


@pytest.fixture
def count(registry: CollectorRegistry) -> Callable[[str], float]:
    def _count(kind: str) -> float:
        series = (("single_flight_total", "role"), ("single_flight_events_total", "event"))
        values = (
            registry.get_sample_value(f"yiwen_transformer_{name}", {label: kind}) for name, label in series
        )
        return next((value for value in values if value is not None), 0.0)

    return _count


def ask(
    single_flight: SingleFlight[str, str], work: ControlledWork, *keys: str, deadline: Deadline | None = None
) -> asyncio.Task[list[SharedResult[str]]]:
    limit = Deadline.after(LONG_S) if deadline is None else deadline
    return asyncio.create_task(single_flight.run(keys, limit, work.work))


async def ticks(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_thousand_equal_requests_run_once(
    single_flight: SingleFlight[str, str], work: ControlledWork, count: Callable[[str], float]
) -> None:
    asked = [ask(single_flight, work, "a") for _ in range(1_000)]
    await ticks()
    work.go.set()
    answers = [answer for (answer,) in await asyncio.gather(*asked)]
    assert work.runs == [("a",)]
    assert answers == [SharedResult("A", True), *[SharedResult("A", False)] * 999]
    assert count("follower") == 999


async def test_a_request_waits_for_keys_of_several_runs(
    single_flight: SingleFlight[str, str], work: ControlledWork
) -> None:
    first, second = ask(single_flight, work, "a", "b"), ask(single_flight, work, "c")
    await ticks()
    third = ask(single_flight, work, "c", "x", "b", "y")
    await ticks()
    assert work.runs == [("a", "b"), ("c",), ("x", "y")]
    work.go.set()
    assert await third == [
        SharedResult("C", False),
        SharedResult("X", True),
        SharedResult("B", False),
        SharedResult("Y", True),
    ]
    assert [*await first, *await second] == [SharedResult(key, True) for key in "ABC"]
    assert not any(map(single_flight.in_progress, "abcxy"))


async def test_a_leader_that_leaves_does_not_affect_followers(
    single_flight: SingleFlight[str, str], work: ControlledWork
) -> None:
    first, second = ask(single_flight, work, "a"), ask(single_flight, work, "a")
    await ticks()
    first.cancel()
    await ticks()
    assert first.cancelled()
    work.go.set()
    assert await second == [SharedResult("A", False)]
    assert (len(work.runs), work.cancelled) == (1, 0)


async def test_the_last_waiter_that_leaves_cancels_the_work(
    single_flight: SingleFlight[str, str], work: ControlledWork, count: Callable[[str], float]
) -> None:
    asked = [ask(single_flight, work, "a", "b"), ask(single_flight, work, "b")]
    await ticks()
    asked[0].cancel()
    await ticks()
    assert work.cancelled == 0
    asked[1].cancel()
    await ticks()
    assert work.cancelled == 1
    assert count("abandoned") == 2
    again = ask(single_flight, work, "b")
    work.go.set()
    assert await again == [SharedResult("B", True)]


async def test_a_request_waits_for_the_end_of_abandoned_work(
    single_flight: SingleFlight[str, str],
) -> None:
    ending, ended, order = asyncio.Event(), asyncio.Event(), []

    async def slow_to_end(keys: Sequence[str], call: SharedCall[str, str]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await ended.wait()
            order.append("ended")

    async def work(keys: Sequence[str], call: SharedCall[str, str]) -> None:
        order.append("begun")
        call.resolve("a", "A")

    first = asyncio.create_task(single_flight.run(["a"], Deadline.after(LONG_S), slow_to_end))
    await ticks()
    first.cancel()
    second = asyncio.create_task(single_flight.run(["a"], Deadline.after(LONG_S), work))
    await ending.wait()
    await ticks()
    assert order == []
    ended.set()
    assert await second == [SharedResult("A", True)]
    assert order == ["ended", "begun"]


async def test_a_failure_reaches_all_waiters_and_is_not_kept(
    single_flight: SingleFlight[str, str], work: ControlledWork
) -> None:
    asked = [ask(single_flight, work, "a") for _ in range(3)]
    work.errors.append(ValueError("gone"))
    work.go.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone"] * 3
    assert await ask(single_flight, work, "a") == [SharedResult("A", True)]


async def test_a_failed_run_ends_the_wait_for_another_run_without_waiters(
    single_flight: SingleFlight[str, str], work: ControlledWork
) -> None:
    failing = ControlledWork()
    failing.errors.append(ValueError("gone"))
    other = ask(single_flight, failing, "a")
    await ticks()
    both = ask(single_flight, work, "a", "b")
    await ticks()
    failing.go.set()
    with pytest.raises(ValueError, match="gone"):
        await both
    with pytest.raises(ValueError, match="gone"):
        await other
    await ticks()
    assert work.cancelled == 1


async def test_a_refusal_reaches_the_leader_only(
    single_flight: SingleFlight[str, str], work: ControlledWork
) -> None:
    """What is wrong with one text of the request that came first is no fault of its neighbours'."""
    asked = asyncio.Event()

    async def refuse(keys: Sequence[str], call: SharedCall[str, str]) -> None:
        await asked.wait()
        call.fail_leader(keys, ValueError("text 1 is too long"))

    first = asyncio.create_task(single_flight.run(["a", "bad"], Deadline.after(LONG_S), refuse))
    await ticks()
    others = [ask(single_flight, work, "x", "a") for _ in range(3)]
    await ticks()
    asked.set()
    with pytest.raises(ValueError, match="text 1"):
        await first
    await ticks()
    work.go.set()
    answers = await asyncio.gather(*others)
    assert answers[0] == [SharedResult("X", True), SharedResult("A", True)]
    assert answers[1:] == [[SharedResult("X", False), SharedResult("A", False)]] * 2
    assert work.runs == [("x",), ("a",)]


async def test_a_follower_times_out_alone(
    single_flight: SingleFlight[str, str], work: ControlledWork
) -> None:
    patient = ask(single_flight, work, "a")
    await ticks()
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):
        await ask(single_flight, work, "a", deadline=Deadline.after(0.05))
    assert time.monotonic() - started < LONG_S / 2
    work.go.set()
    assert await patient == [SharedResult("A", True)]


async def test_a_follower_with_a_longer_deadline_runs_again_after_the_leaders(
    single_flight: SingleFlight[str, str], work: ControlledWork, count: Callable[[str], float]
) -> None:
    late = Deadline.after(LONG_S)
    first = ask(single_flight, work, "a", "b", deadline=Deadline.after(0.1))
    await ticks()
    others = [
        ask(single_flight, work, "b", deadline=late.extended_to(late.at - number)) for number in range(20)
    ]
    with pytest.raises(DeadlinePassed):
        await first
    await ticks()
    work.go.set()
    assert [answer for (answer,) in await asyncio.gather(*others)] == [SharedResult("B", False)] * 20
    assert work.runs == [("a", "b"), ("b",)]
    assert work.deadlines[1].at == late.at
    assert count("repeated") == 1


async def test_keys_resolved_before_the_deadline_do_not_run_again(
    single_flight: SingleFlight[str, str],
) -> None:
    runs: list[Sequence[str]] = []

    async def work(keys: Sequence[str], call: SharedCall[str, str]) -> None:
        runs.append(keys)
        if len(runs) == 1:
            call.resolve("a", "A")
            await asyncio.sleep(max(0.0, call.deadline.remaining_s()))
        else:
            await asyncio.sleep(2 * GRACE_S)
            call.resolve("b", "B")

    first = asyncio.create_task(single_flight.run(["a", "b"], Deadline.after(0.1), work))
    await ticks()
    second = asyncio.create_task(single_flight.run(["b"], Deadline.after(LONG_S), work))
    with pytest.raises(DeadlinePassed):
        await first
    assert await second == [SharedResult("B", False)]
    assert runs == [["a", "b"], ["b"]]


async def test_the_leaders_work_may_end_within_the_grace_after_its_deadline(
    single_flight: SingleFlight[str, str],
) -> None:
    """The predictor ends at the deadline by itself, and hands over what was finished."""

    async def work(keys: Sequence[str], call: SharedCall[str, str]) -> None:
        await asyncio.sleep(max(0.0, call.deadline.remaining_s()) + GRACE_S / 5)
        for key in keys:
            call.resolve(key, key.upper())

    assert await single_flight.run(["a"], Deadline.after(0.05), work) == [SharedResult("A", True)]


async def test_closing_cancels_all_runs(single_flight: SingleFlight[str, str], work: ControlledWork) -> None:
    asked = [ask(single_flight, work, "a"), ask(single_flight, work, "b", "a")]
    await ticks()
    await single_flight.close(ValueError("stopping"))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["stopping"] * 2
    assert work.cancelled == 2


async def test_work_cancelled_from_outside_ends_all_waits(
    single_flight: SingleFlight[str, str],
) -> None:
    async def work(keys: Sequence[str], call: SharedCall[str, str]) -> None:
        raise asyncio.CancelledError

    with pytest.raises(DeadlinePassed):
        await single_flight.run(["a"], Deadline.after(LONG_S), work)
