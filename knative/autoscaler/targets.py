"""The metric target of a pod, and the decider's parameters for a revision.

Ported from ``pkg/reconciler/autoscaling/resources/target.go``, ``resources/metric.go`` and
``kpa/resources/decider.go``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from knative.autoscaler.annotations import CONCURRENCY, RPS, RevisionScaling
from knative.autoscaler.config import TARGET_MIN, TARGET_UTILIZATION, AutoscalerConfig


@dataclass(frozen=True, slots=True)
class MetricTarget:
    """Target and capacity of a pod in units of the metric: concurrent requests, or requests per second."""

    target: float
    """Target per pod."""
    total: float
    """Capacity per pod."""


@dataclass(frozen=True, slots=True)
class DeciderSpec:
    """The decider's parameters for a revision; names and meaning as in Knative's ``DeciderSpec``."""

    max_scale_up_rate: float
    max_scale_down_rate: float
    scaling_metric: str
    target_value: float
    total_value: float
    target_burst_capacity: float
    activator_capacity: float
    panic_threshold: float
    """A ratio: wanted pods over the panic window per ready pod."""
    stable_window: float
    """Seconds."""
    scale_down_delay: float
    """Seconds."""
    initial_scale: int
    reachable: bool
    activation_scale: int


def resolve_metric_target(scaling: RevisionScaling, config: AutoscalerConfig) -> MetricTarget:
    """Target and total of one pod; the target is total times utilization, at least 0.01."""
    if scaling.metric == RPS:
        total, utilization = config.rps_target_default, TARGET_UTILIZATION
    else:
        total = float(scaling.container_concurrency) or config.container_concurrency_target_default
        utilization = config.container_concurrency_target_fraction
    if scaling.target is not None:
        total = scaling.target
        if scaling.metric == CONCURRENCY and scaling.container_concurrency:
            total = min(scaling.target, float(scaling.container_concurrency))
    if scaling.target_utilization is not None:
        utilization = scaling.target_utilization
    return MetricTarget(target=max(TARGET_MIN, total * utilization), total=total)


def resolve_panic_window(scaling: RevisionScaling) -> float:
    """Length of the panic window: its percentage of the stable one, rounded to whole seconds, at least 1."""
    return float(max(1, math.floor(scaling.window * scaling.panic_window_percentage / 100.0 + 0.5)))


def make_decider(
    scaling: RevisionScaling, config: AutoscalerConfig, *, reachable: bool = True
) -> DeciderSpec:
    """The decider's parameters for a revision.

    Args:
        scaling: the revision's annotations.
        config: the cluster's settings.
        reachable: whether a route refers to the revision.
    """
    resolved = resolve_metric_target(scaling, config)
    return DeciderSpec(
        max_scale_up_rate=config.max_scale_up_rate,
        max_scale_down_rate=config.max_scale_down_rate,
        scaling_metric=scaling.metric,
        target_value=resolved.target,
        total_value=resolved.total,
        target_burst_capacity=scaling.target_burst_capacity,
        activator_capacity=config.activator_capacity,
        panic_threshold=scaling.panic_threshold_percentage / 100.0,
        stable_window=scaling.window,
        scale_down_delay=scaling.scale_down_delay,
        initial_scale=scaling.initial_scale,
        reachable=reachable,
        activation_scale=scaling.activation_scale,
    )
