"""Golden numbers of Knative's ``concurrency_reporter_test.go`` and ``sample_size_test.go``, and laws of sampling."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.autoscaler.annotations import CONCURRENCY, LINEAR, RPS, WEIGHTED_EXPONENTIAL
from knative.autoscaler.concurrency import (
    FIRST_REQUEST,
    ConcurrencyReporter,
    RequestStats,
    Stat,
    population_mean_sample_size,
    scrape_pods,
)
from knative.autoscaler.metrics import MetricCollection


def test_concurrency_is_the_integral_of_requests_in_flight_over_the_interval() -> None:
    stats = RequestStats(0.0)
    stats.request_in(0.0)
    stats.request_in(0.5)
    stats.request_out(0.75)
    assert stats.report(1.0) == Stat(average_concurrent_requests=1.25, request_count=2)
    assert stats.report(2.0) == Stat(average_concurrent_requests=1.0)


def test_two_requests_of_half_a_second_are_a_concurrency_of_one() -> None:
    stats = RequestStats(0.0)
    for begin in (0.0, 0.5):
        stats.request_in(begin)
        stats.request_out(begin + 0.5)
    assert stats.report(1.0) == Stat(average_concurrent_requests=1.0, request_count=2)


def test_requests_through_an_activator_are_counted_and_named() -> None:
    stats = RequestStats(0.0)
    stats.request_in(0.0, proxied=True)
    stats.request_in(0.0)
    stats.request_out(0.5, proxied=True)
    assert stats.report(1.0) == Stat(1.5, 0.5, 2, 1)


def test_events_out_of_order_do_not_turn_time_back() -> None:
    stats = RequestStats(0.0)
    stats.request_in(0.5)
    stats.request_out(0.4)
    assert stats.report(1.0) == Stat(request_count=1)


def test_golden_the_first_request_of_an_idle_revision_is_reported_at_once() -> None:
    reporter = ConcurrencyReporter()
    assert reporter.request_in(0.0) == FIRST_REQUEST == Stat(1.0, 0.0, 1.0, 0.0)
    assert reporter.request_in(0.0) is None


def test_golden_in_and_out_twice() -> None:
    reporter = ConcurrencyReporter()
    reporter.request_in(0.0)
    reporter.request_out(1.0)
    reporter.request_in(1.0)
    reporter.request_out(2.0)
    assert reporter.report(2.0) == Stat(average_concurrent_requests=0, request_count=1)


def test_golden_scale_to_two() -> None:
    reporter = ConcurrencyReporter()
    reporter.request_in(0.0)
    reporter.request_in(0.0)
    assert reporter.report(1.0) == Stat(average_concurrent_requests=1, request_count=1)
    assert reporter.report(2.0) == Stat(average_concurrent_requests=2, request_count=0)


def test_golden_a_revision_is_idle_again_after_an_interval_without_requests() -> None:
    reporter = ConcurrencyReporter()
    reporter.request_in(0.0)
    reporter.request_out(1.0)
    assert reporter.report(1.0) == Stat()
    assert reporter.report(2.0) == Stat()
    assert reporter.report(3.0) is None
    assert reporter.request_in(3.0) == FIRST_REQUEST


def test_golden_interleaved_requests() -> None:
    reporter = ConcurrencyReporter()
    reporter.request_in(0.0)
    reporter.request_in(0.0)
    reporter.request_out(1.0)
    reporter.request_out(2.0)
    assert reporter.report(2.0) == Stat(average_concurrent_requests=0.5, request_count=1)


def test_a_request_that_arrives_as_the_report_is_cut_is_not_forgotten() -> None:
    reporter = ConcurrencyReporter()
    reporter.request_in(1.0)
    assert reporter.report(1.0) == Stat()
    assert reporter.report(2.0) == Stat(average_concurrent_requests=1.0)


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


def test_resized_windows_keep_their_values() -> None:
    metrics = MetricCollection(10, 2, LINEAR)
    for second in range(10):
        metrics.record(100.0 + second, Stat(5.0, request_count=7.0))
    metrics.resize(109.0, 20, 6)
    assert metrics.stable_and_panic(CONCURRENCY, 109.0) == (5.0, 5.0)
    assert metrics.stable_and_panic(RPS, 109.0) == (7.0, 7.0)
