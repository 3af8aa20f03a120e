"""Golden numbers of Knative's ``reconciler/autoscaling/resources/target_test.go``, and what they mean here."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from knative.autoscaler.annotations import GROUP, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.decider import excess_burst_capacity
from knative.autoscaler.targets import MetricTarget, make_decider, resolve_metric_target, resolve_panic_window
from tests.knative.approx import approx

CONFIG = AutoscalerConfig()


def resolved(
    container_concurrency: int = 0,
    target: str | None = None,
    utilization: str | None = None,
    metric: str = "concurrency",
    **config: float,
) -> MetricTarget:
    annotations = {GROUP + "metric": metric}
    if target is not None:
        annotations[GROUP + "target"] = target
    if utilization is not None:
        annotations[GROUP + "target-utilization-percentage"] = utilization
    cluster = replace(CONFIG, **config)  # type: ignore[arg-type]
    return resolve_metric_target(revision_scaling(annotations, container_concurrency, cluster), cluster)


FULL = {"container_concurrency_target_fraction": 1.0}
"""Go's tests use a cluster with 100 %, unless they say otherwise."""


@pytest.mark.parametrize(
    ("arguments", "target", "total"),
    [
        ({**FULL}, 100, 100),
        ({"container_concurrency_target_fraction": 0.8}, 80, 100),
        (
            {"container_concurrency_target_fraction": 0.3, "container_concurrency_target_default": 2},
            0.6,
            2,
        ),
        (
            {
                "container_concurrency": 12,
                "container_concurrency_target_fraction": 0.8,
                "utilization": "75",
            },
            9,
            12,
        ),
        ({"container_concurrency": 10, "container_concurrency_target_fraction": 0.8}, 8, 10),
        ({"container_concurrency": 1, "container_concurrency_target_fraction": 0.8}, 0.8, 1),
        ({"container_concurrency": 1, **FULL}, 1, 1),
        ({"container_concurrency": 10, **FULL}, 10, 10),
        ({"target": "1", **FULL}, 1, 1),
        ({"target": "1", "container_concurrency_target_fraction": 0.001}, 0.01, 1),
        ({"target": "1", "container_concurrency_target_fraction": 0.75}, 0.75, 1),
        ({"target": "10", "container_concurrency_target_fraction": 0.75}, 7.5, 10),
        ({"container_concurrency": 10, "target": "1", **FULL}, 1, 1),
        ({"target": "500", **FULL}, 500, 500),
        ({"container_concurrency": 1, "target": "10", **FULL}, 1, 1),
        ({"metric": "rps", "container_concurrency": 1}, 140, 200),
        ({"metric": "rps", "target": "1"}, 0.7, 1),
        ({"metric": "rps", "utilization": "75"}, 150, 200),
        ({"metric": "rps", "target": "300"}, 210, 300),
    ],
)
def test_golden_resolve_metric_target(arguments: dict[str, str], target: float, total: float) -> None:
    result = resolved(**arguments)  # type: ignore[arg-type]
    assert (result.target, result.total) == (approx(target, rel=1e-15), total)


def test_golden_one_steady_request_asks_for_two_pods_of_container_concurrency_one() -> None:
    assert resolved(1) == MetricTarget(target=0.7, total=1.0)
    assert math.ceil(1 / resolved(1).target) == 2
    assert math.ceil(1 / resolved(1, utilization="100").target) == 1


def test_golden_eight_per_pod_aims_at_5_6_and_keeps_the_activator_below_27_pods() -> None:
    assert resolved(8) == MetricTarget(target=approx(5.6, rel=1e-15), total=8.0)
    spec = make_decider(revision_scaling({}, 8, CONFIG), CONFIG)
    assert excess_burst_capacity(spec, 26, 0.0) == -3
    assert excess_burst_capacity(spec, 27, 0.0) == 5
    assert excess_burst_capacity(spec, 27, 5.0) == 0
    assert excess_burst_capacity(spec, 27, 5.1) == -1


@pytest.mark.parametrize(
    ("window", "percentage", "seconds"),
    [
        ("60s", "10", 6),
        ("6s", "1", 1),
        ("15s", "10", 2),
        ("14s", "10", 1),
        ("1h", "100", 3600),
        ("25s", "5.9", 1),
    ],
)
def test_golden_panic_window_is_rounded_to_the_second(window: str, percentage: str, seconds: int) -> None:
    annotations = {GROUP + "window": window, GROUP + "panic-window-percentage": percentage}
    assert resolve_panic_window(revision_scaling(annotations, 0, CONFIG)) == seconds


def test_annotations_override_the_clusters_settings_in_the_decider() -> None:
    annotations = {
        GROUP + "panic-threshold-percentage": "150",
        GROUP + "window": "30s",
        GROUP + "scale-down-delay": "2m",
        GROUP + "target-burst-capacity": "-1",
        GROUP + "initial-scale": "3",
        GROUP + "activation-scale": "2",
        GROUP + "metric": "rps",
    }
    spec = make_decider(revision_scaling(annotations, 4, CONFIG), CONFIG, reachable=False)
    assert (spec.panic_threshold, spec.stable_window, spec.scale_down_delay) == (1.5, 30.0, 120.0)
    assert (spec.target_burst_capacity, spec.initial_scale, spec.activation_scale) == (-1.0, 3, 2)
    assert (spec.scaling_metric, spec.reachable) == ("rps", False)
    assert (spec.max_scale_up_rate, spec.max_scale_down_rate, spec.activator_capacity) == (1000.0, 2.0, 100.0)
