"""The status of a revision's PodAutoscaler: whether it is active, and since when.

Ported from ``pkg/apis/autoscaling/v1alpha1/pa_lifecycle.go`` and from ``computeActiveCondition`` in
``pkg/reconciler/autoscaling/kpa/kpa.go``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from knative.autoscaler.annotations import RevisionScaling

SCALE_UNKNOWN = -1
"""Desired pods are not yet known, because there are no metrics."""


class Reachability(Enum):
    """Whether a route refers to the revision. Unknown counts as reachable."""

    UNKNOWN = ""
    REACHABLE = "Reachable"
    UNREACHABLE = "Unreachable"


class Active(Enum):
    """The condition ``Active``; the values are Kubernetes'."""

    ACTIVATING = "Unknown"
    ACTIVE = "True"
    INACTIVE = "False"


@dataclass(frozen=True, slots=True)
class PodAutoscalerStatus:
    """A PodAutoscaler's status; immutable."""

    active: Active
    since: float
    """Time of the last change of condition or reason, seconds."""
    reason: str = ""
    scale_target_initialized: bool = False
    """Whether the initial scale has been reached before."""

    def marked(self, active: Active, reason: str, now: float) -> PodAutoscalerStatus:
        """The status with another condition; ``since`` changes only if condition or reason do.

        Args:
            active: the condition.
            reason: of the condition.
            now: seconds of the clock.
        """
        if (active, reason) == (self.active, self.reason):
            return self
        return replace(self, active=active, reason=reason, since=now)


def scale_bounds(scaling: RevisionScaling, reachability: Reachability) -> tuple[int, int]:
    """Minimum (0 if unreachable) and maximum scale (0: no bound)."""
    low = 0 if reachability is Reachability.UNREACHABLE else scaling.min_scale
    return low, scaling.max_scale


def active_threshold(
    scaling: RevisionScaling, reachability: Reachability, status: PodAutoscalerStatus
) -> int:
    """Number of ready pods from which on the revision is active.

    Args:
        scaling: minimum and initial scale.
        reachability: an unreachable revision has no minimum scale.
        status: whether the initial scale was reached before.
    """
    low, _ = scale_bounds(scaling, reachability)
    return max(low, 1 if status.scale_target_initialized else scaling.initial_scale)


def compute_active_condition(
    status: PodAutoscalerStatus, *, now: float, want: int, ready: int, threshold: int
) -> PodAutoscalerStatus:
    """The status after a reconciliation.

    Args:
        status: before it.
        now: seconds.
        want: by the scaler; -1: unknown.
        ready: ready pods.
        threshold: :func:`active_threshold` of ``status``.
    """
    if ready >= threshold:
        status = replace(status, scale_target_initialized=True)
    if want == 0 or threshold == 0:
        timed_out = status.active is Active.ACTIVATING and threshold > 0
        return status.marked(Active.INACTIVE, "TimedOut" if timed_out else "NoTraffic", now)
    if want > 0 or status.active is not Active.INACTIVE:
        if ready < threshold:
            return status.marked(Active.ACTIVATING, "Queued", now)
        return status.marked(Active.ACTIVE, "", now)
    if ready < threshold:
        return status.marked(Active.INACTIVE, "NoTraffic", now)
    return status
