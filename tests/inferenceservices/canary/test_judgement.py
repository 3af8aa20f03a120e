"""Decisions from given counts, and the counts that metrics become."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from inferenceservices.canary.counters import (
    BucketCounts,
    ReleaseCounts,
    increase,
    read_counters,
    release_counts,
)
from inferenceservices.canary.judgement import Judgement, Thresholds, Verdict, judge
from protocol.error_codes import ErrorCode
from protocol.messages import CacheStatus
from serving.metrics import Operation, RequestMetrics
from transformer.metrics.transformer_metrics import TransformerMetrics

BOUNDS = (0.1, 1.0, 10.0, float("inf"))


def durations(*counts: int) -> BucketCounts:
    """A histogram with ``counts`` in its buckets, each at the bucket's geometric middle."""
    middles = (0.03, 0.3, 3.0, 30.0)
    total = sum(count * middle for count, middle in zip(counts, middles, strict=True))
    return BucketCounts(dict(zip(BOUNDS, np.cumsum(counts).astype(float), strict=True)), total)


def confidences(*counts: int) -> BucketCounts:
    """A histogram of confidences with ``counts`` below 0.5, 0.9 and 1."""
    total = sum(count * middle for count, middle in zip(counts, (0.4, 0.8, 0.97), strict=True))
    return BucketCounts(
        dict(zip((0.5, 0.9, float("inf")), np.cumsum(counts).astype(float), strict=True)), total
    )


STABLE = ReleaseCounts(9000, 9, 9000, 3600, 72, durations(5400, 3000, 591, 0), durations(0, 3000, 600, 0))
CANARY = ReleaseCounts(1000, 1, 1000, 700, 14, durations(300, 580, 119, 0), durations(0, 583, 117, 0))


def verdict(look: int = 1, **changes: Any) -> Judgement:
    return judge(STABLE, replace(CANARY, **changes), look)


def test_an_equal_canary_is_promoted_with_all_figures_in_one_line() -> None:
    found = verdict()
    assert found.verdict is Verdict.PROMOTE
    assert found.explanation.startswith(
        "promote: not worse: errors 0.10% against 0.10% (p 1); flags per text 0.020"
    )
    assert "mean of predictor 0.751 s against 0.75 s" in found.explanation
    assert "mean of request" not in found.explanation  # its cache is colder
    assert found.explanation.endswith("1000 and 9000 requests")
    assert "\n" not in found.explanation


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"errors": 20}, "errors 2.00% against 0.10%"),
        ({"flags": 60}, "flags per text 0.086 against 0.020"),
        ({"predictor_seconds": durations(0, 480, 220, 0)}, "mean of predictor"),
        ({"predictor_seconds": durations(0, 550, 120, 30)}, "predictor over 10 s 4.29% against 0.00%"),
        (
            {"generated": 400, "flags": 8, "request_seconds": durations(300, 380, 319, 0)},
            "mean of request",
        ),
    ],
    ids=str,
)
def test_a_worse_canary_is_rolled_back_with_what_is_worse(changes: dict[str, Any], figure: str) -> None:
    found = verdict(**changes)
    assert found.verdict is Verdict.ROLL_BACK
    assert found.explanation.startswith("roll back: worse at level 0.0007: ")
    assert figure in found.explanation


def unsure(*counts: int, tolerance: float = 0.05) -> Judgement:
    """The judgement of a canary with these confidences, where 3,600 of the stable release are mostly near 1."""
    stable = replace(STABLE, confidence=confidences(100, 500, 3000))
    canary = replace(CANARY, confidence=confidences(*counts))
    return judge(stable, canary, 1, Thresholds(confidence=tolerance))


def test_a_canary_that_is_less_sure_is_rolled_back_unless_that_is_expected() -> None:
    found = unsure(150, 400, 150)
    assert found.verdict is Verdict.ROLL_BACK
    assert "mean confidence 0.751 against 0.931 (p " in found.explanation
    assert unsure(150, 400, 150, tolerance=1.0).verdict is Verdict.PROMOTE


@pytest.mark.parametrize("counts", [(20, 97, 583), (0, 50, 650), (30, 120, 550)], ids=str)
def test_a_canary_that_is_as_sure_or_surer_or_little_less_is_promoted(counts: tuple[int, ...]) -> None:
    assert unsure(*counts).verdict is Verdict.PROMOTE


def test_a_release_that_does_not_count_its_confidence_is_compared_without() -> None:
    found = judge(STABLE, replace(CANARY, confidence=confidences(700, 0, 0)), 1)
    assert found.verdict is Verdict.PROMOTE
    assert "confidence" not in found.explanation


def test_each_look_asks_for_more_certainty() -> None:
    verdicts = [verdict(look, errors=10).verdict for look in (1, 40)]
    assert verdicts == [Verdict.ROLL_BACK, Verdict.HOLD]


def test_what_is_significant_but_small_is_no_reason() -> None:
    many = replace(CANARY, requests=1_000_000, errors=4_000)
    found = judge(replace(STABLE, requests=9_000_000, errors=9_000), many, 1)
    assert found.verdict is Verdict.PROMOTE


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"requests": 150, "errors": 0}, "150 requests of the canary and 9000 of the stable release, 200"),
        (
            {"predictor_seconds": durations(0, 30, 6, 0)},
            "36 requests to the predictor of the canary and 3600",
        ),
        (
            {"requests": 0, "errors": 0, "predictor_seconds": BucketCounts({}, 0.0)},
            "0 requests of the canary",
        ),
    ],
)
def test_too_few_samples_are_waited_for(changes: dict[str, Any], what: str) -> None:
    found = verdict(**changes)
    assert found.verdict is Verdict.HOLD
    assert what in found.explanation


def test_slow_first_requests_are_no_reason_before_there_are_enough_samples() -> None:
    """As a canary had it that was equal: 22 requests to processes that had just started."""
    slow = durations(0, 2, 20, 18)
    found = verdict(requests=40, errors=0, predictor_seconds=slow, generated=40, flags=0)
    assert found.verdict is Verdict.HOLD
    assert (
        verdict(requests=200, errors=0, predictor_seconds=durations(0, 10, 100, 90)).verdict
        is Verdict.ROLL_BACK
    )


def test_failures_are_seen_before_there_are_enough_samples() -> None:
    assert verdict(requests=30, errors=10).verdict is Verdict.ROLL_BACK


def test_counters_are_those_of_the_transformers_own_metrics() -> None:
    registry = CollectorRegistry()
    requests, metrics = RequestMetrics("yiwen", registry), TransformerMetrics(registry)
    for operation, status, seconds in (
        (Operation("rest", endpoint="infer"), 200, 0.2),
        (Operation("grpc", endpoint="infer"), 200, 0.4),
        (Operation("rest", endpoint="generate_stream"), 200, 9.0),
        (Operation("rest", endpoint="infer"), 503, 0.1),
        (Operation("rest", endpoint="infer"), 400, 0.1),
    ):
        requests.started()
        requests.finished(operation, status, seconds, None if status == 200 else next(iter(ErrorCode)))
    metrics.predictor_seconds.observe(0.3)
    metrics.guard_failures.labels("length").inc(2)
    metrics.confidence.observe(0.75)
    found = release_counts(read_counters(generate_latest(registry).decode()))
    assert (found.requests, found.errors, found.flags) == (4, 1, 2)
    assert found.request_seconds.count == 2
    assert found.request_seconds.mean == pytest.approx(0.3)
    assert (found.predictor_seconds.count, found.predictor_seconds.cumulative[0.25]) == (1, 0)
    assert (found.confidence.count, found.confidence.mean, found.confidence.cumulative[0.7]) == (1, 0.75, 0)


def test_texts_of_the_cache_are_told_from_generated_ones() -> None:
    registry = CollectorRegistry()
    metrics = TransformerMetrics(registry)
    for name, count in {"hit": 5, "miss": 3, "shared": 2, "bypass": 1}.items():
        metrics.answered(source="en", target="zh", cache=CacheStatus(name), characters=[7] * count)
    found = release_counts(read_counters(generate_latest(registry).decode()))
    assert (found.texts, found.generated) == (11, 3)


def test_what_is_no_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_counters("<html>not found</html>")


def test_an_increase_counts_new_and_restarted_processes_from_zero() -> None:
    before = {"a": {"requests": 100.0}, "b": {"requests": 50.0}, "gone": {"requests": 7.0}}
    after = {"a": {"requests": 130.0}, "b": {"requests": 4.0}, "new": {"requests": 2.0}}
    assert increase(before, after).requests == 30 + 4 + 2
