"""The table above ``computeActiveCondition`` in Knative's ``kpa/kpa.go``, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from knative.autoscaler.annotations import GROUP, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.status import (
    Active,
    PodAutoscalerStatus,
    Reachability,
    active_threshold,
    compute_active_condition,
)

NOW = 1_700_000_000.0
CONFIG = AutoscalerConfig()
ACTIVE, INACTIVE, ACTIVATING = Active.ACTIVE, Active.INACTIVE, Active.ACTIVATING

# want, whether enough are ready, threshold, status before, status after
CONDITIONS = [
    (0, False, 1, ACTIVE, INACTIVE),
    (0, True, 2, ACTIVATING, INACTIVE),
    (1, False, 2, INACTIVE, ACTIVATING),
    (1, False, 2, ACTIVE, ACTIVATING),
    (1, True, 2, INACTIVE, ACTIVE),
    (1, True, 2, ACTIVATING, ACTIVE),
    (-1, False, 2, INACTIVE, INACTIVE),
    (-1, False, 2, ACTIVATING, ACTIVATING),
    (-1, False, 2, ACTIVE, ACTIVATING),
    (-1, True, 2, INACTIVE, INACTIVE),
    (-1, True, 0, ACTIVATING, INACTIVE),
    (-1, True, 0, ACTIVE, INACTIVE),
    (-1, True, 2, ACTIVATING, ACTIVE),
    (-1, True, 2, ACTIVE, ACTIVE),
]


@pytest.mark.parametrize(("want", "enough", "threshold", "before", "after"), CONDITIONS)
def test_golden_active_condition(
    want: int, enough: bool, threshold: int, before: Active, after: Active
) -> None:
    status = PodAutoscalerStatus(before, NOW - 9)
    ready = threshold if enough else threshold - 1
    result = compute_active_condition(status, now=NOW, want=want, ready=ready, threshold=threshold)
    assert result.active is after
    assert result.scale_target_initialized is enough
    assert (result.since == NOW - 9) is (result.active is before and result.reason == "")


def test_a_revision_that_never_became_active_is_inactive_for_that_reason() -> None:
    status = PodAutoscalerStatus(ACTIVATING, NOW - 9)
    assert compute_active_condition(status, now=NOW, want=0, ready=0, threshold=1).reason == "TimedOut"
    result = compute_active_condition(status, now=NOW, want=-1, ready=0, threshold=0)
    assert (result.active, result.reason) == (INACTIVE, "NoTraffic")  # it starts with no pods: nothing failed
    status = PodAutoscalerStatus(ACTIVE, NOW - 9)
    assert compute_active_condition(status, now=NOW, want=0, ready=0, threshold=1).reason == "NoTraffic"


@pytest.mark.parametrize(
    ("annotations", "reachability", "initialized", "threshold"),
    [
        ({}, Reachability.REACHABLE, False, 1),
        ({"initial-scale": "4"}, Reachability.REACHABLE, False, 4),
        ({"initial-scale": "4"}, Reachability.REACHABLE, True, 1),
        ({"initial-scale": "4", "min-scale": "2"}, Reachability.REACHABLE, True, 2),
        ({"initial-scale": "4", "min-scale": "2"}, Reachability.UNREACHABLE, True, 1),
        ({"initial-scale": "0"}, Reachability.REACHABLE, False, 0),
    ],
)
def test_active_from_the_initial_scale_on_then_from_the_smallest(
    annotations: dict[str, str], reachability: Reachability, initialized: bool, threshold: int
) -> None:
    cluster = replace(CONFIG, allow_zero_initial_scale=True)
    scaling = revision_scaling({GROUP + key: value for key, value in annotations.items()}, 0, cluster)
    status = PodAutoscalerStatus(ACTIVATING, NOW, scale_target_initialized=initialized)
    assert active_threshold(scaling, reachability, status) == threshold
