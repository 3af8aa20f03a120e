"""Golden numbers of Knative's ``sample_size_test.go``, and laws of sampling."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.autoscaler.annotations import CONCURRENCY, LINEAR, RPS, WEIGHTED_EXPONENTIAL
from knative.autoscaler.concurrency import (
    Stat,
    population_mean_sample_size,
    scrape_pods,
)
from knative.autoscaler.metrics import MetricCollection


@pytest.mark.parametrize(
    ("population", "size"),
    [(-1, 0), (0, 0), (1, 1), (2, 2), (3, 3), (5, 4), (10, 7), (100, 14), (1000, 16)],
)
def test_golden_population_mean_sample_size(population: int, size: int) -> None:
    assert population_mean_sample_size(population) == size


def test_without_pods_there_is_nothing_to_record() -> None:
    assert scrape_pods([], [], Random(0)) is None


def test_a_sample_stands_for_all_pods() -> None:
    pods = [Stat(2.0, 1.0, 10.0, 5.0)] * 10
    assert scrape_pods(pods, [], Random(0)) == Stat(20.0, 10.0, 100.0, 50.0)


def test_old_pods_are_asked_first() -> None:
    old, young = [Stat(1.0)] * 7, [Stat(100.0)] * 3
    assert scrape_pods(old, young, Random(0)) == Stat(10.0)


def test_young_pods_fill_up_the_sample() -> None:
    old, young = [Stat(1.0)] * 5, [Stat(8.0)] * 5
    assert scrape_pods(old, young, Random(0)) == Stat((5 * 1.0 + 2 * 8.0) / 7 * 10)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60), st.integers(0, 60), st.integers())
def test_a_sample_lies_between_the_least_and_the_most_loaded_pod_times_their_number(
    loads: list[float], cut: int, seed: int
) -> None:
    pods = [Stat(load) for load in loads]
    stat = scrape_pods(pods[:cut], pods[cut:], Random(seed))
    assert stat is not None
    low, high = min(loads) * len(loads), max(loads) * len(loads)
    assert low * (1 - 1e-9) <= stat.average_concurrent_requests <= high * (1 + 1e-9)
    assert stat == scrape_pods(pods[:cut], pods[cut:], Random(seed))


def test_what_came_through_an_activator_is_not_counted_twice() -> None:
    metrics = MetricCollection(60, 6, LINEAR)
    metrics.record(100.0, Stat(average_concurrent_requests=8.0, request_count=40.0))
    metrics.record(100.2, Stat(8.0, 8.0, 40.0, 40.0))
    metrics.record(100.3, Stat(3.0, 1.0, 9.0, 4.0))
    assert metrics.stable_and_panic(CONCURRENCY, 100.9) == (10.0, 10.0)
    assert metrics.stable_and_panic(RPS, 100.9) == (45.0, 45.0)


def test_there_is_no_data_before_the_first_report_and_a_window_after_the_last() -> None:
    metrics = MetricCollection(60, 6, LINEAR)
    assert metrics.stable_and_panic(CONCURRENCY, 100.0) is None
    metrics.record(100.0, Stat(5.0))
    assert metrics.stable_and_panic(CONCURRENCY, 110.0) == (5.0, 0.0)
    assert metrics.stable_and_panic(CONCURRENCY, 160.0) == (0.0, 0.0)
    assert metrics.stable_and_panic(CONCURRENCY, 161.0) is None


def test_where_pods_are_not_scraped_no_data_means_no_load() -> None:
    metrics = MetricCollection(60, 6, LINEAR, scraped=False)
    assert metrics.stable_and_panic(CONCURRENCY, 100.0) == (0.0, 0.0)


def test_the_weighted_algorithm_weighs_both_windows() -> None:
    metrics = MetricCollection(60, 6, WEIGHTED_EXPONENTIAL)
    metrics.record(100.0, Stat(10.0))
    stable, panic = metrics.stable_and_panic(CONCURRENCY, 100.0) or (0.0, 0.0)
    assert stable == pytest.approx(10 * 0.2, rel=1e-12)
    assert panic == pytest.approx(10 * 0.784557, abs=1e-5)
