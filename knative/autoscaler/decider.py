"""The decider: how many pods a revision needs, every two seconds.

Ported from ``pkg/autoscaler/scaling/autoscaler.go`` and ``multiscaler.go``. Bounds are not applied here but in
:mod:`knative.autoscaler.scaler`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from knative.autoscaler.targets import DeciderSpec
from knative.autoscaler.windows import TimeWindow

TICK_INTERVAL = 2
"""Seconds between two decisions."""


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """Result of one tick."""

    desired_pod_count: int
    excess_burst_capacity: int
    """Requests that could arrive at once beyond the target burst capacity; negative: an activator is needed."""


class Autoscaler:
    """The decider of one revision.

    Args:
        spec: how to scale it.
        now: current time, seconds; later calls use the same clock.
        ready: ready pods now. With more than one it starts in panic mode, so that a restarted autoscaler, which has
            no history, does not scale down.
    """

    def __init__(self, spec: DeciderSpec, *, now: float, ready: int) -> None:
        self.spec = spec
        self.panic_time: float | None = now if ready > 1 else None
        """Start of panic mode, seconds; None: not in panic mode."""
        self.max_panic_pods = ready
        # As in Knative, the delay of the first spec is kept, also where a later spec has another.
        self._delay_window = (
            TimeWindow(spec.scale_down_delay, TICK_INTERVAL) if spec.scale_down_delay > 0 else None
        )

    @property
    def panicking(self) -> bool:
        """Whether it is in panic mode."""
        return self.panic_time is not None

    def update(self, spec: DeciderSpec) -> None:
        """Replace the spec."""
        self.spec = spec

    def scale(self, now: float, ready: int, stable: float, panic: float) -> ScaleResult:
        """Compute the desired pods.

        Args:
            now: seconds.
            ready: ready pods.
            stable: the metric's average over the stable window.
            panic: the same over the panic window.
        """
        spec = self.spec
        pods = max(1, ready)
        panic_pods = math.ceil(panic / spec.target_value)
        want_stable = rate_limited(spec, pods, math.ceil(stable / spec.target_value))
        want_panic = rate_limited(spec, pods, panic_pods)
        self._update_panic(now, over=panic_pods / pods >= spec.panic_threshold)
        desired = want_stable
        if self.panicking:
            # Panic mode never scales down.
            self.max_panic_pods = desired = max(self.max_panic_pods, want_stable, want_panic)
        if spec.reachable and self._delay_window is not None:
            self._delay_window.record(now, desired)
            desired = self._delay_window.current()
        return ScaleResult(desired, excess_burst_capacity(spec, ready, panic))

    def _update_panic(self, now: float, *, over: bool) -> None:
        if over:
            self.panic_time = now
        elif self.panic_time is not None and self.panic_time + self.spec.stable_window < now:
            self.panic_time = None
            self.max_panic_pods = 0


def rate_limited(spec: DeciderSpec, pods: int, wanted: int) -> int:
    """Limit the desired pods by the scale rates, but not below the activation scale.

    Args:
        spec: the rates and the activation scale.
        pods: ready pods, at least 1.
        wanted: desired pods before the limits.
    """
    most = math.ceil(spec.max_scale_up_rate * pods)
    least = math.floor(pods / spec.max_scale_down_rate) if spec.reachable else 0
    limited = min(max(wanted, least), most)
    if spec.activation_scale > 1 and wanted > 0:
        return max(limited, spec.activation_scale)
    return limited


def excess_burst_capacity(spec: DeciderSpec, ready: int, panic: float) -> int:
    """Capacity of the ready pods less the target burst capacity and the load of the panic window, rounded down.

    Args:
        spec: capacity per pod and target burst capacity.
        ready: ready pods.
        panic: average load over the panic window, in units of the metric.

    Returns:
        0 if the target burst capacity is 0, and -1 if it is unlimited.
    """
    if spec.target_burst_capacity == 0:
        return 0
    if spec.target_burst_capacity < 0:
        return -1
    return math.floor(ready * spec.total_value - spec.target_burst_capacity - panic)


def initial_excess_burst_capacity(spec: DeciderSpec) -> int:
    """Excess burst capacity before the first tick with data: of the initial scale, without load."""
    if spec.target_burst_capacity in (-1, 0):
        return int(spec.target_burst_capacity)
    return int(spec.initial_scale * spec.total_value - spec.target_burst_capacity)
