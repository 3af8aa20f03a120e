"""Deadlines on a clock that the test moves."""

from __future__ import annotations

import pytest

from protocol.deadline import GRACE_S, Deadline


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.parametrize(("asked", "timeout_s"), [(None, 30.0), (1, 0.001), (60_000, 60.0), (60_001, 60.0)])
def test_a_request_gets_what_it_asks_for_up_to_the_maximum(
    clock: ManualClock, asked: int | None, timeout_s: float
) -> None:
    deadline = Deadline.of_request(asked, default_ms=30_000, max_ms=60_000, clock=clock)
    assert (deadline.at, deadline.timeout_s) == (100.0 + timeout_s, timeout_s)


def test_the_default_is_bounded_by_the_maximum(clock: ManualClock) -> None:
    assert Deadline.of_request(None, default_ms=30_000, max_ms=2_000, clock=clock).timeout_s == 2.0


def test_the_time_counts_from_the_requests_arrival(clock: ManualClock) -> None:
    deadline = Deadline.of_request(5_000, default_ms=1, max_ms=60_000, received_at=98.0, clock=clock)
    assert (deadline.at, deadline.timeout_s, deadline.remaining_s()) == (103.0, 5.0, 3.0)


def test_time_runs_out(clock: ManualClock) -> None:
    deadline = Deadline.after(1.5, clock)
    clock.now += 1.0
    assert (deadline.remaining_s(), deadline.remaining_ms(), deadline.has_passed) == (0.5, 500, False)
    assert deadline.wait_s() == 0.5 + GRACE_S
    clock.now += 0.5
    assert (deadline.remaining_s(), deadline.has_passed) == (0.0, True)
    clock.now += 1.0
    assert deadline.remaining_ms() == -1000


def test_an_extended_deadline_keeps_the_arrival(clock: ManualClock) -> None:
    longer = Deadline.after(1.0, clock).extended_to(103.0)
    assert (longer.at, longer.timeout_s) == (103.0, 3.0)
