"""A Knative Service: its revision, its Deployment, and the autoscaler that scales it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from knative.autoscaler.annotations import RevisionScaling
from knative.autoscaler.concurrency import REPORT_INTERVAL, Stat
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.kpa import KPA, Decision
from knative.simulator.cluster.deployment import ColdStart, Deployment, SlicePool
from knative.simulator.cluster.pods import SimulatedPod
from knative.simulator.cluster.revision import Revision
from knative.simulator.engine.events import Clock, EndCallback

TICK_REPORTS = 2
"""Reports per tick of the autoscaler."""


class SimulatedService:
    """One Knative Service with one revision.

    The load of activator and pods goes to the autoscaler in one report per second, exact where Knative samples pods.
    Reconciliations that Knative would make between two ticks happen at the next tick.
    """

    def __init__(
        self, clock: Clock, scaling: RevisionScaling, config: AutoscalerConfig, *, slices: SlicePool,
        cold_start: ColdStart, rng: Random, make_pod: Callable[[], SimulatedPod], on_end: EndCallback,
    ) -> None:  # fmt: skip
        """A service without pods; :meth:`start` creates the first ones.

        Args:
            clock: the simulation's.
            scaling: the revision's settings.
            config: the cluster's autoscaler settings.
            slices: that its pods run on.
            cold_start: durations of a pod's start and end.
            rng: for load balancing.
            make_pod: a new pod, that is ready when the cluster says so.
            on_end: called for each request that ends.
        """
        self._clock = clock
        self.revision = Revision(clock, scaling.container_concurrency, rng, on_end)
        self.deployment = Deployment(clock, self.revision, slices, cold_start, make_pod, self._reconcile)
        self._scaling = scaling
        self._reports = 0
        # With ready pods a new autoscaler would start in panic mode; this service has been running before.
        self.kpa = KPA(config, scaling, now=clock.now)
        self.decision: Decision | None = None
        self.revision.on_first_request = self._first_request

    def start(self, initial_pods: int | None) -> None:
        """Create the first pods, ready at once, and start the autoscaler.

        Args:
            initial_pods: how many; None: the fewest that the revision starts with.
        """
        fewest = max(self._scaling.min_scale, self._scaling.initial_scale)
        self.kpa.replicas = fewest if initial_pods is None else initial_pods
        self.deployment.start_ready(self.kpa.replicas)
        if not self.kpa.replicas:  # as after scaling to zero: the last report was empty
            self.kpa.observe(self._clock.now, Stat())
            self.kpa.tick(self._clock.now, ready=0)
        self._apply(self.kpa.reconcile(self._clock.now, self.ready))
        self._clock.call_at(self._clock.now + REPORT_INTERVAL, self._report)

    @property
    def ready(self) -> int:
        """Ready pods."""
        return len(self.revision.ready)

    @property
    def replicas(self) -> int:
        """Replicas that the autoscaler asks for."""
        return self.kpa.replicas

    @property
    def panicking(self) -> bool:
        """Whether the autoscaler is in panic mode."""
        return self.kpa.autoscaler.panicking

    def _report(self, _: object) -> None:
        now = self._clock.now
        self.revision.expire()
        self.deployment.sweep()
        stat = self.revision.report()
        idle = not stat.request_count and not stat.average_concurrent_requests
        if not idle or (self.ready and self.kpa.metrics.scraped):
            self.kpa.observe(now, stat)
        self._reports += 1
        if self._reports % TICK_REPORTS == 0:
            self._apply(self.kpa.tick(now, self.ready))
        self._clock.call_at(now + REPORT_INTERVAL, self._report)

    def _first_request(self, stat: Stat) -> None:
        if self.kpa.observe(self._clock.now, stat):
            self._apply(self.kpa.tick(self._clock.now, self.ready))

    def _reconcile(self) -> None:
        if self.decision is not None:
            self._apply(self.kpa.reconcile(self._clock.now, self.ready))

    def _apply(self, decision: Decision) -> None:
        self.decision = decision
        self.revision.activator_in_path = decision.activator_in_path
        self.deployment.scale(decision.replicas)
