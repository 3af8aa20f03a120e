"""Golden numbers of Knative's ``aggregation/bucketing_test.go`` and ``aggregation/max/window_test.go``, and laws."""

from __future__ import annotations

import math
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.autoscaler.windows import (
    MaxWindow,
    TimedFloat64Buckets,
    TimeWindow,
    WeightedFloat64Buckets,
    compute_smoothing_coeff,
    round_half_away,
)

T0 = 1_700_000_000.4


Buckets = TypeVar("Buckets", bound=TimedFloat64Buckets)


def filled(buckets: Buckets, values: list[float], start: float = T0) -> Buckets:
    for second, value in enumerate(values):
        buckets.record(start + second, value)
    return buckets


def test_golden_linear_average_counts_from_the_first_write() -> None:
    buckets = TimedFloat64Buckets(5)
    buckets.record(T0, 1)
    assert buckets.window_average(T0) == 1.0


def test_golden_linear_average_of_a_full_window_also_for_a_reader_that_lags() -> None:
    buckets = filled(TimedFloat64Buckets(5), [1, 2, 3, 4, 5])
    assert buckets.window_average(T0 + 4) == 3.0
    assert buckets.window_average(T0 + 3.6) == 3.0


def test_golden_linear_average_leaves_out_what_was_not_written_since() -> None:
    buckets = filled(TimedFloat64Buckets(5), [1, 2, 3, 4, 5])
    assert buckets.window_average(T0 + 6) == 4.0
    assert buckets.window_average(T0 + 10) == 0.0


def test_golden_linear_average_through_holes_jumps_and_late_values() -> None:
    buckets = filled(TimedFloat64Buckets(5), [1, 2, 3, 4, 5])
    buckets.record(T0 + 6, 91)
    assert buckets.window_average(T0 + 6) == 20.6
    now = T0 + 60
    buckets.record(now, 1984)
    assert buckets.window_average(now) == 1984.0
    buckets.record(now - 3, 4)
    assert buckets.window_average(now) == 497.0
    now += 1
    buckets.record(now, 5)
    assert buckets.window_average(now) == 398.6
    buckets.record(now - 3, 10)
    assert buckets.window_average(now) == 400.6
    buckets.record(now - 6, 10)
    buckets.record(now - 5, 10)
    assert buckets.window_average(now) == 400.6
    buckets.record(now + 5, 10)
    assert buckets.window_average(now + 5) == 10.0


def test_golden_linear_average_of_values_that_come_backwards() -> None:
    buckets = TimedFloat64Buckets(5)
    for second in range(8, -1, -1):
        buckets.record(T0 + second, 5)
    assert buckets.window_average(T0 + 5) == 5.0


@pytest.mark.parametrize(
    ("buckets", "decay"), [(5, 0.841511), (6, 0.784557), (40, 0.205672), (60, 0.2), (100, 0.2)]
)
def test_golden_smoothing_coefficient(buckets: int, decay: float) -> None:
    assert round(compute_smoothing_coeff(buckets), 6) == decay


def test_golden_weighted_average_of_2_to_6_is_5_812() -> None:
    buckets = filled(WeightedFloat64Buckets(5), [2, 3, 4, 5, 6])
    assert round(buckets.window_average(T0 + 4), 3) == 5.812
    a = buckets.smoothing_coeff
    expected = sum(value * a * (1 - a) ** age for age, value in enumerate([6, 5, 4, 3, 2]))
    assert buckets.window_average(T0 + 4) == pytest.approx(expected, rel=1e-15)


def test_golden_weighted_average_decays_with_every_second_unwritten() -> None:
    buckets = WeightedFloat64Buckets(5)
    a = buckets.smoothing_coeff
    buckets.record(T0, 2)
    assert buckets.window_average(T0) == 2 * a
    assert buckets.window_average(T0 + 1) == 2 * a * (1 - a)
    buckets.record(T0 + 1, 2)
    assert buckets.window_average(T0 + 1) == pytest.approx(2 * a * (1 - a) + 2 * a, rel=1e-15)
    assert buckets.window_average(T0 + 16) == 0.0


def test_it_is_empty_before_the_first_write_and_more_than_a_window_after_the_last() -> None:
    buckets = TimedFloat64Buckets(5)
    assert buckets.is_empty(T0)
    buckets.record(T0, 1)
    assert not buckets.is_empty(T0 + 5)
    assert buckets.is_empty(T0 + 6)


@pytest.mark.parametrize(
    ("value", "digits", "rounded"),
    [
        (3.6e-17, 6, 0.0),
        (-3.6e-17, 3, 0.0),
        (0.0004, 3, 0.0),
        (1.2345, 3, 1.235),
        (1.2345, 4, 1.2345),
        (12345, 6, 12345.0),
        (0.5, 0, 1.0),
        (2.5, 0, 3.0),
        (-2.5, 0, -3.0),
    ],
)
def test_golden_rounding_is_half_away_from_zero(value: float, digits: int, rounded: float) -> None:
    assert round_half_away(value, digits) == rounded


@pytest.mark.parametrize(
    ("values", "maxima"),
    [
        ([5, 6, 5, 5, 5, 5, 5], [5, 6, 6, 6, 6, 6, 5]),
        (
            [5, 8, 5, 7, 5, 5, 1, 4, 4, 4, 4, 9, 3, 4, 2, 1, 0],
            [5, 8, 8, 8, 8, 8, 7, 7, 5, 5, 4, 9, 9, 9, 9, 9, 4],
        ),
    ],
)
def test_golden_max_window_one_index_per_value(values: list[int], maxima: list[int]) -> None:
    window, seen = MaxWindow(5), []
    for index, value in enumerate(values):
        window.record(index, value)
        seen.append(window.current())
    assert seen == maxima


def test_golden_max_window_of_one_index_keeps_the_largest() -> None:
    window = MaxWindow(5)
    for value in range(7, 0, -1):
        window.record(3, value)
        assert window.current() == 7


def test_a_time_window_forgets_after_its_duration_rounded_up_to_its_steps() -> None:
    window = TimeWindow(5, granularity=2)
    window.record(100.0, 9)
    for second in range(1, 6):
        window.record(100.0 + second, 1)
        assert window.current() == 9
    window.record(106.0, 1)
    assert window.current() == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1), st.integers(1, 7))
def test_the_max_window_is_the_maximum_of_the_last_indices(steps: list[tuple[int, int]], size: int) -> None:
    window, index, history = MaxWindow(size), 0, []
    for step, value in steps:
        index += step
        window.record(index, value)
        history.append((index, value))
        assert window.current() == max(v for i, v in history if index - i < size)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1000)), min_size=1, max_size=60), st.integers(1, 20)
)
def test_the_linear_average_is_the_mean_of_the_buckets_since_the_first_write(
    steps: list[tuple[int, int]], window: int
) -> None:
    buckets, now, first = TimedFloat64Buckets(window), 1000, 1000
    sums: dict[int, int] = {}
    for step, value in steps:
        now += step
        if step >= window:
            sums, first = {}, now
        first = now if not sums else first
        sums[now] = sums.get(now, 0) + value
        buckets.record(now + 0.7, value)
        total = sum(v for second, v in sums.items() if now - second < window)
        assert buckets.window_average(now + 0.9) == pytest.approx(
            total / min(now - first + 1, window), abs=1e-6
        )


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80), st.integers(2, 60))
def test_the_weighted_average_stays_within_its_values(values: list[float], window: int) -> None:
    buckets = filled(WeightedFloat64Buckets(window), values, start=1000.0)
    average = buckets.window_average(1000.0 + len(values) - 1)
    assert 0 <= average <= max(values) * (1 + 1e-12)
    assert math.isfinite(average)
