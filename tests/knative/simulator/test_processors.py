"""Threads on cores: who gets processor time when, and that none is lost or made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knative.simulator.engine.events import Clock
from knative.simulator.engine.other_processes import BusyCores, OtherProcesses
from knative.simulator.engine.processors import CorePool, CoreSpeeds, DedicatedCore, Processor
from tests.knative.approx import approx

SLICE = 0.004


def run_out(clock: Clock) -> None:
    while clock.next_time < float("inf"):
        clock.run_until(clock.next_time)


class Ends(dict[str, float]):
    """When each work was done, by name."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def note(self, name: str) -> None:
        assert name not in self
        self[name] = approx(self._clock.now)


def shared(count: int, speeds: CoreSpeeds | None = None) -> tuple[Clock, CorePool, Ends]:
    clock = Clock()
    return clock, CorePool(clock, count, SLICE, speeds or CoreSpeeds()), Ends(clock)


def test_two_threads_take_turns_on_one_core() -> None:
    clock, cores, ends = shared(1)
    for name in "ab":
        cores.thread().call_at(0.010, ends.note, name)
    run_out(clock)
    assert ends == {"a": 0.018, "b": 0.020}  # a b a b a b, 4 ms each, then what is left


def test_a_thread_that_wakes_waits_for_the_running_slice_and_no_longer() -> None:
    clock, cores, ends = shared(1)
    cores.thread().call_at(0.100, ends.note, "long")
    clock.run_until(0.005)  # in the middle of its second slice
    cores.thread().call_at(0.001, ends.note, "short")
    run_out(clock)
    assert ends == {"short": 0.009, "long": 0.101}


def test_threads_with_a_core_each_do_not_notice_each_other() -> None:
    clock, cores, ends = shared(2)
    for name in "ab":
        cores.thread().call_at(0.010, ends.note, name)
    run_out(clock)
    assert ends == {"a": 0.010, "b": 0.010}


def test_a_threads_clock_stands_still_while_it_waits() -> None:
    clock, cores, ends = shared(1)
    one, other = cores.thread(), cores.thread()
    one.call_at(0.006, ends.note, "one")
    other.call_at(0.002, ends.note, "other")
    clock.run_until(0.003)
    assert (one.now, other.now) == (approx(0.003), 0.0)
    clock.run_until(0.005)
    assert (one.now, other.now) == (approx(0.004), approx(0.001))


def test_work_that_was_done_may_give_more_without_giving_up_the_core() -> None:
    clock, cores, ends = shared(1)
    one = cores.thread()

    def more(_: object) -> None:
        one.call_at(one.now + 0.001, ends.note, "more")

    one.call_at(0.001, more)
    cores.thread().call_at(0.001, ends.note, "other")
    run_out(clock)
    assert ends == {"more": 0.002, "other": 0.003}


@pytest.mark.parametrize("waiting", [False, True], ids=["running", "waiting"])
def test_new_work_takes_the_place_of_old(waiting: bool) -> None:
    clock, cores, ends = shared(1)
    if waiting:
        cores.thread().call_at(0.002, ends.note, "first")
    one = cores.thread()
    one.call_at(0.010, ends.note, "old")
    clock.run_until(0.001)
    one.call_at(0.005, ends.note, "new")
    run_out(clock)
    assert ends == ({"first": 0.002, "new": 0.007} if waiting else {"new": 0.005})


@pytest.mark.parametrize("at", [0.001, 0.005], ids=["running", "waiting"])
def test_a_thread_that_stops_leaves_its_core_to_others(at: float) -> None:
    clock, cores, ends = shared(1)
    one = cores.thread()
    one.call_at(0.010, ends.note, "one")
    cores.thread().call_at(0.010, ends.note, "other")
    clock.run_until(at)
    one.cancel()
    run_out(clock)
    assert ends == {"other": 0.010 + min(at, SLICE)}


def test_slow_cores_take_longer_from_their_next_slice_on() -> None:
    clock, cores, ends = shared(1, CoreSpeeds((1.0, 0.5), 0.008))
    cores.thread().call_at(0.010, ends.note, "a")
    run_out(clock)
    assert ends == {"a": 0.008 + 0.002 / 0.5}


def test_the_last_speed_goes_on() -> None:
    assert [CoreSpeeds((1.0, 0.5), 2.0).at(time) for time in (0.0, 1.9, 2.0, 100.0)] == [1.0, 1.0, 0.5, 0.5]


works = st.lists(
    st.tuples(st.floats(0.0, 0.05), st.floats(0.0001, 0.02)), min_size=1, max_size=12
)  # arrival, seconds of work


@settings(max_examples=200)
@given(works, st.integers(1, 4))
def test_cores_lose_no_time_and_make_none(given: list[tuple[float, float]], count: int) -> None:
    clock, cores, ends = shared(count)
    threads = [cores.thread() for _ in given]
    for index, (arrival, _) in enumerate(given):
        clock.call_at(arrival, lambda i: threads[i].call_at(given[i][1], ends.note, str(i)), index)
    run_out(clock)
    assert len(ends) == len(given)
    assert [thread.now for thread in threads] == pytest.approx([seconds for _, seconds in given])
    total, last = sum(seconds for _, seconds in given), clock.now
    assert last >= max(arrival + seconds for arrival, seconds in given) - 1e-9
    # No core is idle while a thread waits: Graham's bound for lists, from the last arrival on.
    assert last <= max(a for a, _ in given) + total / count + max(s for _, s in given) + 1e-9


@pytest.fixture(params=["own", "shared"])
def processor(request: pytest.FixtureRequest) -> tuple[Clock, Processor]:
    clock = Clock()
    return clock, DedicatedCore(clock) if request.param == "own" else CorePool(
        clock, 1, SLICE, CoreSpeeds()
    ).thread()


def test_an_event_loop_does_one_thing_after_the_other(processor: tuple[Clock, Processor]) -> None:
    clock, core = processor
    loop, ends = core.event_loop(), Ends(clock)
    clock.run_until(1.0)
    loop.submit(0.002, ends.note, "a")
    loop.submit(0.003, lambda _: loop.submit(0.001, ends.note, "from b"))
    loop.submit(0.005, ends.note, "c")
    clock.run_until(1.5)
    loop.submit(0.001, ends.note, "d")
    run_out(clock)
    assert ends == {"a": 1.002, "c": 1.010, "from b": 1.011, "d": 1.501}
    assert list(ends) == ["a", "c", "from b", "d"]


def test_cancel_all_returns_the_arguments_and_calls_no_callback(
    processor: tuple[Clock, Processor],
) -> None:
    clock, core = processor
    loop, ends = core.event_loop(), Ends(clock)
    for name in "abc":
        loop.submit(0.002, ends.note, name)
    clock.run_until(0.003)
    assert loop.cancel_all() == ["b", "c"]
    run_out(clock)
    assert ends == {"a": 0.002}
    began = clock.now
    loop.submit(0.001, ends.note, "later")
    run_out(clock)
    assert ends["later"] == began + 0.001


def test_other_processes_take_what_they_were_measured_to_take() -> None:
    clock, cores, ends = shared(1)
    OtherProcesses(cores, 1, BusyCores((0.5, 0.0), 2.0))
    thread = cores.thread()
    thread.call_at(1.0, ends.note, "half a core for two seconds")
    clock.run_until(3.0)
    assert ends["half a core for two seconds"] == pytest.approx(2.0, abs=0.02)
    thread.call_at(2.0, ends.note, "a core alone")
    clock.run_until(5.0)
    assert ends["a core alone"] == pytest.approx(4.0, abs=0.02)


def test_other_processes_share_the_cores_with_a_thread_that_has_one() -> None:
    clock, cores, ends = shared(2)
    OtherProcesses(cores, 2, BusyCores((0.6,)))
    cores.thread().call_at(1.0, ends.note, "one of two cores")
    clock.run_until(2.0)
    assert ends["one of two cores"] == pytest.approx(1.15, abs=0.17)  # it waits for 0.3 s at most
