"""A Deployment and its nodes: slices, cold starts, draining and failing pods.

A new pod waits for a free slice, first come first served; then it is scheduled, its image is pulled and its process
starts. Scaling down removes pods in Kubernetes' order: those that are not ready first, then the newest. A terminating
pod finishes its requests, and its slice is free after the queue-proxy's drain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from knative.simulator.cluster.pods import Phase, PredictorPod, SimulatedPod
from knative.simulator.cluster.revision import Revision
from knative.simulator.engine.events import Clock


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Durations of a pod's start and end, seconds."""

    schedule_seconds: float = 1.0
    """Scheduler, volumes and sandbox."""
    pull_seconds: float = 0.0
    """Image pull; 0 where the node has the images."""
    start_seconds: float = 0.0
    """From the start of the process to its first successful probe."""
    drain_seconds: float = 30.0
    """How long a pod holds its slice after its last request: the queue-proxy's drain."""

    @property
    def total(self) -> float:
        """Seconds from a free slice to ready."""
        return self.schedule_seconds + self.pull_seconds + self.start_seconds


class SlicePool:
    """The MIG slices or whole GPUs that pods run on, and how long pods hold them."""

    def __init__(self, clock: Clock, available: int | None) -> None:
        """All slices are free.

        Args:
            clock: the simulation's.
            available: number of slices; None: no limit.
        """
        self._clock = clock
        self._available = available
        self.taken = 0
        self.seconds = 0.0
        """Slice-seconds held up to the last change."""
        self._changed = 0.0
        self._pending: deque[tuple[SimulatedPod, Callable[[SimulatedPod], None]]] = deque()

    def acquire(self, pod: SimulatedPod, started: Callable[[SimulatedPod], None]) -> None:
        """Call ``started(pod)`` as soon as there is a slice for it, unless the pod is gone by then."""
        pod.phase = Phase.PENDING
        self._pending.append((pod, started))
        self._assign()

    @property
    def free(self) -> bool:
        """Whether a pod would get a slice at once."""
        return not self._pending and (self._available is None or self.taken < self._available)

    def release(self) -> None:
        """Free a pod's slice."""
        self._change(-1)
        self._assign()

    def held_seconds(self) -> float:
        """Slice-seconds held up to now."""
        self._change(0)
        return self.seconds

    def _assign(self) -> None:
        while self._pending and (self._available is None or self.taken < self._available):
            pod, started = self._pending.popleft()
            if pod.phase is Phase.PENDING:
                self._change(1)
                pod.phase = Phase.STARTING
                started(pod)

    def _change(self, by: int) -> None:
        now = self._clock.now
        self.seconds += self.taken * (now - self._changed)
        self._changed = now
        self.taken += by


class Deployment:
    """The Deployment of one revision."""

    def __init__(
        self, clock: Clock, revision: Revision, slices: SlicePool, cold_start: ColdStart,
        make_pod: Callable[[], SimulatedPod], ready_changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """A Deployment without pods.

        Args:
            clock: the simulation's.
            revision: gets the pods that are ready.
            slices: that the pods run on.
            cold_start: durations of start and end.
            make_pod: a new pod.
            ready_changed: called when a pod has become ready or died; not for changes by :meth:`scale`.
        """
        self._clock = clock
        self._revision = revision
        self._slices = slices
        self._cold_start = cold_start
        self._make_pod = make_pod
        self._ready_changed = ready_changed
        self.pods: list[SimulatedPod] = []
        """Pods that count as replicas: pending, starting or ready."""
        self._leaving: list[SimulatedPod] = []

    def start_ready(self, replicas: int) -> None:
        """Create pods that are ready at once, as in a service that has been running."""
        for _ in range(replicas):
            pod = self._make_pod()
            self.pods.append(pod)
            self._slices.acquire(pod, self._become_ready if self._slices.free else self._start)

    def scale(self, replicas: int) -> None:
        """Create or remove pods until there are ``replicas``."""
        while len(self.pods) < replicas:
            pod = self._make_pod()
            self.pods.append(pod)
            self._slices.acquire(pod, self._start)
        if len(self.pods) > replicas:
            order = sorted(self.pods, key=_keeps_rank, reverse=True)
            for pod in order[: len(self.pods) - replicas]:
                self._remove(pod)

    def kill_oldest_pod(self) -> None:
        """Let the oldest ready pod die with all its requests; the Deployment replaces it."""
        pod = next((p for p in self._revision.ready if isinstance(p, PredictorPod)), None)
        if pod is None:
            return
        replicas = len(self.pods)
        self.pods.remove(pod)
        self._revision.remove(pod)
        pod.phase = Phase.GONE
        self._revision.fail(pod, pod.kill())
        self._slices.release()
        self.scale(replicas)
        self._ready_changed()

    def sweep(self) -> None:
        """Begin the drain of terminating pods that have no more requests. Called every second."""
        for pod in [p for p in self._leaving if not p.in_use and not p.queue]:
            self._leaving.remove(pod)
            self._clock.call_at(self._clock.now + self._cold_start.drain_seconds, self._gone, pod)

    def _start(self, pod: SimulatedPod) -> None:
        self._clock.call_at(self._clock.now + self._cold_start.total, self._become_ready, pod)

    def _become_ready(self, pod: SimulatedPod) -> None:
        if pod.phase is Phase.STARTING:
            self._revision.add(pod)
            self._ready_changed()

    def _remove(self, pod: SimulatedPod) -> None:
        self.pods.remove(pod)
        if pod.phase is Phase.READY:
            self._revision.remove(pod)
            pod.phase = Phase.TERMINATING
            self._leaving.append(pod)
            return
        holds_a_slice = pod.phase is Phase.STARTING
        pod.phase = Phase.GONE
        if holds_a_slice:
            self._slices.release()

    def _gone(self, pod: SimulatedPod) -> None:
        pod.phase = Phase.GONE
        self._slices.release()


def _keeps_rank(pod: SimulatedPod) -> tuple[bool, bool, float]:
    """Sort key, lowest for the pods that are kept longest: ready, starting, pending; oldest first within each."""
    return (pod.phase is not Phase.READY, pod.phase is Phase.PENDING, pod.created)
