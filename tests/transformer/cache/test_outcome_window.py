from __future__ import annotations

import pytest

from transformer.cache.outcome_window import OutcomeWindow


def window_of(good: int, bad: int, *, failures: int = 3) -> OutcomeWindow:
    """``good`` outcomes, and then ``bad`` ones, all within a second."""
    window = OutcomeWindow(1.0, failures)
    for number in range(good + bad):
        window.add(100.0 + number / (good + bad), bad=number >= good)
    return window


@pytest.mark.parametrize(
    ("good", "bad", "is_bad"),
    [
        (0, 1, False),
        (0, 2, False),
        (0, 3, True),
        (3, 3, True),
        (4, 3, False),
        (1_000, 32, False),
        (99, 99, True),
    ],
)
def test_it_is_bad_when_half_of_the_outcomes_and_three_of_them_are(good: int, bad: int, is_bad: bool) -> None:
    assert window_of(good, bad).is_bad() is is_bad


def test_what_is_older_than_the_window_does_not_count() -> None:
    window = window_of(1_000, 0)
    for number in range(3):
        assert not window.is_bad()
        window.add(102.2 + number / 100, bad=True)
    assert window.is_bad()


def test_failures_in_a_row_count_however_rare_commands_are() -> None:
    window = OutcomeWindow(1.0, 3)
    for minute in range(3):
        window.add(60.0 * minute, bad=True)
    assert window.is_bad()
    window.add(180.0, bad=False)
    window.add(240.0, bad=True)
    assert not window.is_bad()


def test_only_the_last_outcome_says_whether_it_answers() -> None:
    window = window_of(5, 1)
    before = window.last_was_bad
    window.add(101.0, bad=False)
    assert (before, window.last_was_bad) == (True, False)
