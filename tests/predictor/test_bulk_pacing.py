from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from predictor.bulk_pacing import MOST_SAT_OUT, BulkPacer


def run(
    pacer: BulkPacer, steps: int, alone_s: Callable[[], float], added_s: Callable[[], float]
) -> tuple[float, int]:
    """The time of so many steps of others, over their time without bulk, and in how many of them bulk took part."""
    total = without = 0.0
    joined = 0
    for _ in range(steps):
        seconds = base = alone_s()
        joins = pacer.may_join
        if joins:
            seconds += added_s()
        pacer.observe(seconds, joined=joins, reads_prompts=False)
        total, without, joined = total + seconds, without + base, joined + joins
    return total / without, joined


@pytest.mark.parametrize("slowdown", [1.2, 2.0, 3.0])
def test_bulk_makes_steps_as_much_longer_as_it_may(slowdown: float) -> None:
    rng = random.Random(1)
    alone, added = lambda: rng.uniform(0.5, 0.8), lambda: rng.uniform(1.5, 4.0)
    found, joined = run(BulkPacer(slowdown), 2_000, alone, added)
    assert found == pytest.approx(slowdown, rel=0.05)
    assert joined == pytest.approx(2_000 * (slowdown - 1) * 0.65 / 2.75, rel=0.1)


def test_where_a_step_takes_as_long_with_bulk_it_hardly_waits() -> None:
    found, joined = run(BulkPacer(2.0), 2_000, lambda: 0.010, lambda: 0.001)
    assert joined > 0.95 * 2_000
    assert found < 1.1


def test_a_step_that_was_slow_once_is_measured_again() -> None:
    pacer = BulkPacer(2.0)
    run(pacer, 1, lambda: 1.0, lambda: 0.0)  # a cold start
    run(pacer, 1_000, lambda: 0.001, lambda: 0.004)
    found, _ = run(pacer, 1_000, lambda: 0.001, lambda: 0.004)
    assert found == pytest.approx(2.0, rel=0.1)


def test_nothing_is_saved_up_while_there_is_no_bulk() -> None:
    pacer = BulkPacer(2.0)
    run(pacer, 100, lambda: 0.001, lambda: 0.004)
    for _ in range(1_000):
        pacer.observe(0.001, joined=False, reads_prompts=False)
    found, _ = run(pacer, 12, lambda: 0.001, lambda: 0.004)
    assert found <= 2.7


def test_a_stall_keeps_bulk_out_for_some_steps_only() -> None:
    pacer = BulkPacer(2.0)
    run(pacer, 100, lambda: 0.001, lambda: 0.004)
    while not pacer.may_join:
        pacer.observe(0.001, joined=False, reads_prompts=False)
    pacer.observe(60.0, joined=True, reads_prompts=False)
    _, joined = run(pacer, 10 * MOST_SAT_OUT, lambda: 0.001, lambda: 0.004)
    assert joined > 5


def test_bulk_has_its_turn_where_steps_of_others_only_read_prompts() -> None:
    pacer = BulkPacer(2.0)
    for _ in range(MOST_SAT_OUT):
        assert not pacer.may_join
        pacer.observe(0.01, joined=False, reads_prompts=True)
    assert pacer.may_join
    pacer.observe(0.02, joined=True, reads_prompts=True)
    assert not pacer.may_join


def test_what_others_waited_for_bulk_is_taken_off_its_time() -> None:
    pacer = BulkPacer(2.0)
    run(pacer, 100, lambda: 0.001, lambda: 0.004)
    pacer.bulk_ran_alone()
    pacer.others_came(0.008)
    _, joined = run(pacer, 8, lambda: 0.001, lambda: 0.004)
    assert joined == 0
    _, joined = run(pacer, 100, lambda: 0.001, lambda: 0.004)
    assert joined >= 20
