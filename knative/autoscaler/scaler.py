"""Converts desired pods to replicas: bounds, initial scale, and scaling to zero.

Ported from ``pkg/reconciler/autoscaling/kpa/scaler.go``. State that Knative reads from the cluster is an argument
here: how long the activator has been in the path, and whether a probe reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass

from knative.autoscaler.annotations import RevisionScaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.status import SCALE_UNKNOWN, Active, PodAutoscalerStatus, Reachability, scale_bounds

ACTIVATION_TIMEOUT_BUFFER = 30.0
"""Seconds that a revision gets beyond its progress deadline before it counts as failed."""
PROBE_PERIOD = 1.0
"""Seconds between two probes for the activator."""
REENQUEUE_IN_PROXY_MODE = 3.0
"""Seconds until the next reconciliation where no event causes one."""


@dataclass(frozen=True, slots=True)
class ActivatorPath:
    """State of the data path."""

    proxy_mode: bool
    """Whether the ServerlessService is in proxy mode."""
    proxy_for: float
    """Seconds that the activator has been in the path; 0 if it is not."""
    probe: bool
    """Whether a probe through the service reaches the activator."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """The scaler's decision."""

    want: int
    """Pods wanted; -1: unknown."""
    apply: bool
    """Whether to set the Deployment's replicas to ``want`` now."""
    requeue_after: float | None = None
    """Seconds until the next reconciliation if no event causes one before; None: no need."""


def scale(
    desired: int,
    *,
    now: float,
    status: PodAutoscalerStatus,
    scaling: RevisionScaling,
    config: AutoscalerConfig,
    reachability: Reachability,
    path: ActivatorPath,
) -> Scaled:
    """Limit the desired pods to the bounds, and delay scaling to zero as Knative does.

    Args:
        desired: by the decider; -1: not yet known.
        now: seconds.
        status: of the PodAutoscaler before this.
        scaling: the revision's settings.
        config: the cluster's.
        reachability: whether a route refers to the revision.
        path: where requests go now.
    """
    if desired < 0 and status.active is not Active.ACTIVATING:
        return Scaled(desired, apply=False)
    low, high = scale_bounds(scaling, reachability)
    initial = scaling.initial_scale > 1 and not status.scale_target_initialized
    if initial and reachability is not Reachability.UNREACHABLE:
        low = max(low, scaling.initial_scale)
    bounded = apply_bounds(low, high, desired)
    if bounded != 0:
        return Scaled(bounded, apply=True)
    return _scale_to_zero(now, status, scaling, config, reachability, path)


def apply_bounds(low: int, high: int, desired: int) -> int:
    """Limit the desired pods to [low, high].

    Args:
        low: minimum scale; it wins over ``high``.
        high: maximum scale; 0: no bound.
        desired: pods.
    """
    if desired < low:
        return low
    if high != 0 and desired > high:
        return high
    return desired


def last_pod_retention(scaling: RevisionScaling, reachability: Reachability) -> float:
    """Seconds that the last pod stays at least; none for an unreachable revision."""
    if reachability is Reachability.UNREACHABLE:
        return 0.0
    return scaling.scale_to_zero_pod_retention_period


def _scale_to_zero(
    now: float,
    status: PodAutoscalerStatus,
    scaling: RevisionScaling,
    config: AutoscalerConfig,
    reachability: Reachability,
    path: ActivatorPath,
) -> Scaled:
    if not config.enable_scale_to_zero:
        return Scaled(1, apply=True)
    age = now - status.since
    if status.active is Active.ACTIVATING:
        timeout = scaling.progress_deadline + ACTIVATION_TIMEOUT_BUFFER
        if age > timeout:
            return Scaled(0, apply=True)
        return Scaled(SCALE_UNKNOWN, apply=False, requeue_after=timeout)
    if status.active is Active.ACTIVE:
        if age >= scaling.window:
            again = REENQUEUE_IN_PROXY_MODE if path.proxy_mode else None
            return Scaled(0, apply=False, requeue_after=again)
        return Scaled(1, apply=True, requeue_after=scaling.window - age)
    if scaling.target_burst_capacity != -1 and not path.probe:
        return Scaled(0, apply=False, requeue_after=PROBE_PERIOD)
    return _remove_last_pod(
        age, last_pod_retention(scaling, reachability), config.scale_to_zero_grace_period, path
    )


def _remove_last_pod(inactive_for: float, keep: float, grace: float, path: ActivatorPath) -> Scaled:
    if inactive_for >= max(grace, keep):
        return Scaled(0, apply=True)
    if inactive_for < keep:
        return Scaled(0, apply=False, requeue_after=keep - inactive_for)
    if path.proxy_for >= grace:
        return Scaled(0, apply=True)
    return Scaled(0, apply=False, requeue_after=grace - path.proxy_for)
