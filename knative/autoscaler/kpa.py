"""The complete autoscaler of one revision: reports go in, decisions come out.

Combines parts of Knative's autoscaler and controller: metric collection, decider, scaler, the
ServerlessService's mode (``pkg/reconciler/autoscaling/kpa/kpa.go``) and the PodAutoscaler's status.

A simulation drives it like this, with its own clock::

    kpa = KPA(config, scaling, now=0.0)
    every second:       kpa.observe_pods(now, old, young, rng); kpa.observe(now, stat) per activator
    every two seconds:  decision = kpa.tick(now, ready)
    if observe() returned True, at once:                   decision = kpa.tick(now, ready)
    when pods become ready or go, and at requeue_at:       decision = kpa.reconcile(now, ready)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

from knative.autoscaler.annotations import RevisionScaling
from knative.autoscaler.concurrency import Stat, scrape_pods
from knative.autoscaler.config import KPA_CLASS, AutoscalerConfig
from knative.autoscaler.decider import Autoscaler, initial_excess_burst_capacity
from knative.autoscaler.metrics import MetricCollection
from knative.autoscaler.scaler import ActivatorPath, Scaled, scale
from knative.autoscaler.status import (
    SCALE_UNKNOWN,
    Active,
    PodAutoscalerStatus,
    Reachability,
    active_threshold,
    compute_active_condition,
)
from knative.autoscaler.targets import DeciderSpec, make_decider, resolve_panic_window
from knative.errors import ConfigError

MIN_ACTIVATORS = 2


class Mode(Enum):
    """Where the revision's ServerlessService sends requests; the values are Knative's."""

    SERVE = "Serve"
    """To the pods, if any is ready; else to activators."""
    PROXY = "Proxy"
    """To activators."""


@dataclass(frozen=True, slots=True)
class Decision:
    """State after a tick or a reconciliation."""

    replicas: int
    """Replicas of the Deployment."""
    desired: int
    """Pods that the decider desires, before bounds; -1: not yet known."""
    want: int
    """Pods after bounds and the rules for scaling to zero; -1: not yet known."""
    excess_burst_capacity: int
    mode: Mode
    activator_in_path: bool
    """Whether requests go through an activator: in proxy mode, and without ready pods."""
    num_activators: int
    """Activators that share the revision."""
    active: Active
    panicking: bool
    requeue_at: float | None
    """Time of the next reconciliation if no event causes one before, seconds; None: no need."""


class KPA:
    """The autoscaler of one revision.

    Args:
        config: the cluster's settings.
        scaling: the revision's.
        now: current time, seconds; later calls use the same clock, which never goes back.
        ready: ready pods now.
        reachability: whether a route refers to the revision.
        network_programming: seconds that a probe needs to find the activator in the path after it got there.

    Raises:
        ConfigError: the revision is of another class.
    """

    def __init__(
        self,
        config: AutoscalerConfig,
        scaling: RevisionScaling,
        *,
        now: float,
        ready: int = 0,
        reachability: Reachability = Reachability.REACHABLE,
        network_programming: float = 0.0,
    ) -> None:
        if scaling.pod_autoscaler_class != KPA_CLASS:
            raise ConfigError(
                f"class {scaling.pod_autoscaler_class} is not Knative's own autoscaler; set the annotation "
                f'autoscaling.knative.dev/class: "{KPA_CLASS}"'
            )
        self.config, self.scaling, self.reachability = config, scaling, reachability
        self.spec = self._decider_spec()
        self.metrics = MetricCollection(
            scaling.window,
            resolve_panic_window(scaling),
            scaling.metric_aggregation_algorithm,
            scraped=scaling.target_burst_capacity != -1,
        )
        self.autoscaler = Autoscaler(self.spec, now=now, ready=ready)
        self.status = PodAutoscalerStatus(Active.ACTIVATING, now)
        self.replicas = scaling.initial_scale
        self._desired = SCALE_UNKNOWN
        self._excess_burst_capacity = initial_excess_burst_capacity(self.spec)
        self._mode = Mode.PROXY
        self._proxy_since: float | None = now
        self._network_programming = network_programming

    def observe(self, now: float, stat: Stat) -> bool:
        """Record an activator's report. Returns True if a revision without pods got a request: tick at once."""
        self.metrics.record(now, stat)
        return self._desired == 0 and stat.average_concurrent_requests != 0

    def observe_pods(self, now: float, old: Sequence[Stat], young: Sequence[Stat], rng: Random) -> None:
        """Scrape a sample of the ready pods and record it. Due each second.

        Args:
            now: seconds of the clock.
            old: reports of the ready pods that are older than the stable window.
            young: reports of the others.
            rng: chooses the sample.
        """
        if not self.metrics.scraped:
            return
        stat = scrape_pods(old, young, rng)
        if stat is not None:
            self.metrics.record(now, stat)

    def tick(self, now: float, ready: int) -> Decision:
        """Compute the desired pods and reconcile. Due every two seconds."""
        averages = self.metrics.stable_and_panic(self.spec.scaling_metric, now)
        if averages is not None:
            result = self.autoscaler.scale(now, ready, *averages)
            self._desired = result.desired_pod_count
            self._excess_burst_capacity = result.excess_burst_capacity
        return self.reconcile(now, ready)

    def reconcile(self, now: float, ready: int) -> Decision:
        """Update replicas, mode and status for the last tick's desired pods.

        As in Knative, a changed status is reconciled again until it stays the same.
        """
        while True:
            before = self.status
            scaled = self._reconcile_once(now, ready)
            if self.status == before:
                break
        return Decision(
            replicas=self.replicas,
            desired=self._desired,
            want=scaled.want,
            excess_burst_capacity=self._excess_burst_capacity,
            mode=self._mode,
            activator_in_path=self._proxy_since is not None,
            num_activators=num_activators(ready, self.spec),
            active=self.status.active,
            panicking=self.autoscaler.panicking,
            requeue_at=None if scaled.requeue_after is None else now + scaled.requeue_after,
        )

    def set_reachability(self, reachability: Reachability) -> None:
        """Set whether a route refers to the revision; takes effect at the next tick or reconciliation."""
        self.reachability = reachability
        self.spec = self._decider_spec()
        self.autoscaler.update(self.spec)

    def _decider_spec(self) -> DeciderSpec:
        reachable = self.reachability is not Reachability.UNREACHABLE
        return make_decider(self.scaling, self.config, reachable=reachable)

    def _reconcile_once(self, now: float, ready: int) -> Scaled:
        threshold = active_threshold(self.scaling, self.reachability, self.status)
        scaled = scale(
            self._desired,
            now=now,
            status=self.status,
            scaling=self.scaling,
            config=self.config,
            reachability=self.reachability,
            path=self._path(now),
        )
        if scaled.apply:
            self.replicas = scaled.want
        self._mode = sks_mode(scaled.want, self._excess_burst_capacity)
        if self._mode is Mode.SERVE and ready > 0:
            self._proxy_since = None
        elif self._proxy_since is None:
            self._proxy_since = now
        self.status = compute_active_condition(
            self.status, now=now, want=scaled.want, ready=ready, threshold=threshold
        )
        return scaled

    def _path(self, now: float) -> ActivatorPath:
        since = self._proxy_since
        return ActivatorPath(
            proxy_mode=self._mode is Mode.PROXY,
            proxy_for=0.0 if since is None else now - since,
            probe=since is not None and now - since >= self._network_programming,
        )


def sks_mode(want: int, excess_burst_capacity: int) -> Mode:
    """Mode of the ServerlessService: SERVE if there are pods and excess burst capacity, else PROXY."""
    return Mode.SERVE if want > 0 and excess_burst_capacity >= 0 else Mode.PROXY


def num_activators(ready: int, spec: DeciderSpec) -> int:
    """Activators that share a revision: enough for the capacity of its ready pods and the burst, at least 2."""
    if spec.target_burst_capacity == 0:
        return MIN_ACTIVATORS
    capacity = ready * spec.total_value + max(spec.target_burst_capacity, 0.0)
    return max(MIN_ACTIVATORS, math.ceil(capacity / spec.activator_capacity))
