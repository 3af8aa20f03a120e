"""Deciders as the fixtures of Knative's ``autoscaler_test.go`` make them."""

from __future__ import annotations

from dataclasses import replace

from knative.autoscaler.decider import Autoscaler
from knative.autoscaler.targets import DeciderSpec

T0 = 1_700_000_000.0


def spec_of(target: float = 10.0, burst: float = 100.0, **changes: object) -> DeciderSpec:
    """Go's fixture: a pod carries target / 0.75."""
    spec = DeciderSpec(
        max_scale_up_rate=10.0,
        max_scale_down_rate=10.0,
        scaling_metric="concurrency",
        target_value=target,
        total_value=target / 0.75,
        target_burst_capacity=burst,
        activator_capacity=100.0,
        panic_threshold=2.0,
        stable_window=60.0,
        scale_down_delay=0.0,
        initial_scale=1,
        reachable=True,
        activation_scale=0,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def autoscaler_of(spec: DeciderSpec, ready: int = 1, now: float = T0) -> Autoscaler:
    return Autoscaler(spec, now=now, ready=ready)
