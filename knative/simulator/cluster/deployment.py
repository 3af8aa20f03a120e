"""From replicas to ready pods: slices, cold starts, drains, losses. What a Deployment and its nodes do, no more.

A new pod is scheduled, its image pulled, its process started; one that needs a slice waits for a free one first, the
oldest first. Fewer replicas take pods away in Kubernetes' order: those that are not ready first, then the newest. A
leaving pod finishes what it has, and its slice is free after Knative's drain.
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
    """Seconds from a replica that is wanted to a pod that is ready."""

    schedule_seconds: float = 1.0
    """Scheduler, volumes, sandbox."""
    pull_seconds: float = 0.0
    """Images; 0 where the node has them already."""
    start_seconds: float = 0.0
    """The process, to its first successful probe."""
    drain_seconds: float = 30.0
    """How long a pod keeps its slice after its last request: the queue-proxy waits so long for stragglers."""

    @property
    def total(self) -> float:
        """From a free slice to ready."""
        return self.schedule_seconds + self.pull_seconds + self.start_seconds


class SlicePool:
    """What pods run on: MIG slices or whole GPUs, and the time that they are held."""

    def __init__(self, clock: Clock, available: int | None) -> None:
        """None taken.

        Args:
            clock: the simulation's.
            available: how many there are; None: as many as asked for.
        """
        self._clock = clock
        self._available = available
        self.taken = 0
        self.seconds = 0.0
        """Taken slices over time, up to the last change."""
        self._changed = 0.0
        self._wanted: deque[tuple[SimulatedPod, Callable[[SimulatedPod], None]]] = deque()

    def acquire(self, pod: SimulatedPod, started: Callable[[SimulatedPod], None]) -> None:
        """Have ``started(pod)`` called once there is a slice for it, unless it is gone by then."""
        pod.phase = Phase.PENDING
        self._wanted.append((pod, started))
        self._hand_out()

    @property
    def free(self) -> bool:
        """Whether a pod would get one now."""
        return not self._wanted and (self._available is None or self.taken < self._available)

    def release(self) -> None:
        """A pod's slice is free again."""
        self._change(-1)
        self._hand_out()

    def held_seconds(self) -> float:
        """Seconds that slices were held until now."""
        self._change(0)
        return self.seconds

    def _hand_out(self) -> None:
        while self._wanted and (self._available is None or self.taken < self._available):
            pod, started = self._wanted.popleft()
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
    """The pods of one revision."""

    def __init__(
        self, clock: Clock, revision: Revision, slices: SlicePool, cold_start: ColdStart,
        make_pod: Callable[[], SimulatedPod], ready_changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """No pods.

        Args:
            clock: the simulation's.
            revision: gets the pods that are ready.
            slices: what the pods run on.
            cold_start: how long a start takes.
            make_pod: a new pod.
            ready_changed: called when a pod became ready, or died; not for what :meth:`scale` does.
        """
        self._clock = clock
        self._revision = revision
        self._slices = slices
        self._cold_start = cold_start
        self._make_pod = make_pod
        self._ready_changed = ready_changed
        self.pods: list[SimulatedPod] = []
        """All that count as replicas: pending, starting, ready."""
        self._leaving: list[SimulatedPod] = []

    @property
    def leaving(self) -> int:
        """Pods that finish what they have."""
        return len(self._leaving)

    def start_ready(self, replicas: int) -> None:
        """Have so many pods ready at once, as a service has that ran before."""
        for _ in range(replicas):
            pod = self._make_pod()
            self.pods.append(pod)
            self._slices.acquire(pod, self._become_ready if self._slices.free else self._start)

    def scale(self, replicas: int) -> None:
        """Make or take away pods until there are so many."""
        while len(self.pods) < replicas:
            pod = self._make_pod()
            self.pods.append(pod)
            self._slices.acquire(pod, self._start)
        if len(self.pods) > replicas:
            order = sorted(self.pods, key=_keeps_rank, reverse=True)
            for pod in order[: len(self.pods) - replicas]:
                self._take_away(pod)

    def kill_oldest_pod(self) -> None:
        """The oldest ready pod dies, and with it all that was in it; the Deployment makes another one."""
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
        """Look after the pods that leave; due now and then."""
        for pod in [p for p in self._leaving if not p.in_use and not p.queue]:
            self._leaving.remove(pod)
            self._clock.call_at(self._clock.now + self._cold_start.drain_seconds, self._gone, pod)

    def _start(self, pod: SimulatedPod) -> None:
        self._clock.call_at(self._clock.now + self._cold_start.total, self._become_ready, pod)

    def _become_ready(self, pod: SimulatedPod) -> None:
        if pod.phase is Phase.STARTING:
            self._revision.add(pod)
            self._ready_changed()

    def _take_away(self, pod: SimulatedPod) -> None:
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
    """Lowest for what Kubernetes keeps longest: ready before starting before pending, each the oldest first."""
    return (pod.phase is not Phase.READY, pod.phase is Phase.PENDING, pod.created)
