"""The data path of a revision: from the ingress to its pods, through the activator or directly.

The rules are Knative's (``docs/autoscaling.md``). A pod takes ``containerConcurrency`` requests. Up to 10,000 more
wait in the activator; without it, a queue-proxy holds ten times its concurrency. Beyond that the answer is 503. The
activator balances by ``containerConcurrency``: 0, the less loaded of two random pods; up to 3, the first pod with
free capacity; above, round robin. The ingress balances round robin.

Simplification: all activators are one, which knows the load of every pod.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from knative.autoscaler.concurrency import FIRST_REQUEST, Stat, without_first_request
from knative.simulator.cluster.pods import Phase, SimulatedPod
from knative.simulator.engine.events import Clock, EndCallback, SimulatedRequest, Status

ACTIVATOR_QUEUE = 10_000
QUEUE_PROXY_FACTOR = 10
FIRST_AVAILABLE_UP_TO = 3
"""Largest containerConcurrency for which the activator takes the first pod with free capacity."""
NO_LIMIT = 1 << 40


class Revision:
    """The data path of one revision."""

    def __init__(
        self,
        clock: Clock,
        container_concurrency: int,
        rng: Random,
        on_end: EndCallback,
    ) -> None:
        """A revision without pods.

        Args:
            clock: the simulation's.
            container_concurrency: most concurrent requests of a pod; 0: no limit.
            rng: for the choice of two pods.
            on_end: called for each request that ends.
        """
        self._clock = clock
        self._unlimited = container_concurrency == 0
        self._limit = container_concurrency or NO_LIMIT
        self._rng = rng
        self._on_end = on_end
        self.ready: list[SimulatedPod] = []
        self.activator_in_path = True
        """Whether requests go through the activator."""
        self.waiting: deque[SimulatedRequest] = deque()
        """Requests in the activator, which wait for free capacity."""
        self.in_flight = 0
        """Requests between the ingress and their answer."""
        self.on_first_request: Callable[[Stat], None] = lambda stat: None
        """Called for the first request of an idle revision without pods; the activator reports it at once."""
        self._first = False
        self._turn = 0
        self._free_capacity = 0
        """Requests that the ready pods can take now."""
        self._reported = 0.0
        self._integral = 0.0
        """Integral of the requests in flight over time, less ``in_flight`` times the current time."""
        self._arrivals = 0

    def arrive(self, request: SimulatedRequest) -> None:
        """A request arrives."""
        now = self._clock.now
        if not self.in_flight and not self.ready:
            self._first = True
            self.on_first_request(FIRST_REQUEST)
        self.in_flight += 1
        self._integral -= now
        self._arrivals += 1
        if self.activator_in_path or not self.ready:
            self._enter_activator(request)
        else:
            self._enter_queue_proxy(request)

    def leave(self, pod: SimulatedPod, request: SimulatedRequest, status: Status) -> None:
        """A request leaves a pod's container.

        Args:
            pod: that served it.
            request: that ended.
            status: with which it ended.
        """
        pod.in_use -= 1
        if pod.phase is Phase.READY:
            self._free_capacity += 1
        self._end(request, status)
        self._refill(pod)

    def add(self, pod: SimulatedPod) -> None:
        """Add a pod that has become ready."""
        pod.phase = Phase.READY
        self.ready.append(pod)
        self._free_capacity += self._limit - pod.in_use
        self._refill(pod)

    def remove(self, pod: SimulatedPod) -> None:
        """Send no more requests to a ready pod."""
        self.ready.remove(pod)
        self._free_capacity -= self._limit - pod.in_use

    def fail(self, pod: SimulatedPod, inside: Sequence[SimulatedRequest]) -> None:
        """A pod has died: the requests in its container and in its queue get 503."""
        for request in (*inside, *pod.queue):
            self._end(request, Status.UNAVAILABLE)
        pod.queue.clear()
        pod.in_use = 0

    def expire(self) -> None:
        """End waiting requests whose deadline has passed. All have the same timeout, so the oldest come first."""
        now = self._clock.now
        _expire(self.waiting, now, self._end)
        for pod in self.ready:
            _expire(pod.queue, now, self._end)
            pod.expire(now)

    def report(self) -> Stat:
        """Load since the last report, of activator and pods together."""
        now = self._clock.now
        seconds = now - self._reported
        concurrency = (self._integral + self.in_flight * now) / seconds if seconds > 0 else 0.0
        stat = Stat(average_concurrent_requests=max(0.0, concurrency), request_count=float(self._arrivals))
        self._reported = now
        self._integral = -self.in_flight * now
        self._arrivals = 0
        first, self._first = self._first, False
        return without_first_request(stat) if first else stat

    @property
    def queued(self) -> int:
        """Requests that wait in the activator, in queue-proxies or in containers."""
        return len(self.waiting) + sum(len(pod.queue) + pod.waiting_inside for pod in self.ready)

    def _end(self, request: SimulatedRequest, status: Status) -> None:
        self.in_flight -= 1
        self._integral += self._clock.now
        self._on_end(request, status)

    def _enter_activator(self, request: SimulatedRequest) -> None:
        if not self.waiting and self._free_capacity > 0:
            self._dispatch(self._pick_pod(), request)
            return
        if len(self.waiting) >= ACTIVATOR_QUEUE:
            _expire(self.waiting, self._clock.now, self._end)
        if len(self.waiting) >= ACTIVATOR_QUEUE:
            self._end(request, Status.UNAVAILABLE)
        else:
            self.waiting.append(request)

    def _pick_pod(self) -> SimulatedPod:
        """The activator's choice among pods with free capacity; there must be one."""
        ready = self.ready
        if self._unlimited:
            if len(ready) == 1:
                return ready[0]
            first = int(self._rng.random() * len(ready))
            second = (first + 1 + int(self._rng.random() * (len(ready) - 1))) % len(ready)
            one, other = ready[first], ready[second]
            return one if one.in_use <= other.in_use else other
        if self._limit <= FIRST_AVAILABLE_UP_TO:
            return next(pod for pod in ready if pod.in_use < self._limit)
        return self._round_robin(with_capacity=True)

    def _round_robin(self, *, with_capacity: bool) -> SimulatedPod:
        """The next pod round robin; with ``with_capacity``, among those with free capacity."""
        ready = self.ready
        while True:
            self._turn = (self._turn + 1) % len(ready)
            pod = ready[self._turn]
            if not with_capacity or pod.in_use < self._limit:
                return pod

    def _enter_queue_proxy(self, request: SimulatedRequest) -> None:
        pod = self._round_robin(with_capacity=False)
        if pod.in_use < self._limit:
            self._dispatch(pod, request)
        elif len(pod.queue) < QUEUE_PROXY_FACTOR * self._limit:
            pod.queue.append(request)
        else:
            self._end(request, Status.UNAVAILABLE)

    def _dispatch(self, pod: SimulatedPod, request: SimulatedRequest) -> None:
        pod.in_use += 1
        self._free_capacity -= pod.phase is Phase.READY
        pod.accept(request)

    def _refill(self, pod: SimulatedPod) -> None:
        """Send waiting requests to a pod, up to its free capacity."""
        now = self._clock.now
        while pod.in_use < self._limit and pod.phase in (Phase.READY, Phase.TERMINATING):
            if pod.queue:
                request = pod.queue.popleft()
            elif self.waiting and pod.phase is Phase.READY:
                request = self.waiting.popleft()
            else:
                return
            if request.deadline <= now:
                self._end(request, Status.TIMEOUT)
            else:
                self._dispatch(pod, request)


def _expire(
    queue: deque[SimulatedRequest], now: float, end: Callable[[SimulatedRequest, Status], None]
) -> None:
    while queue and queue[0].deadline <= now:
        end(queue.popleft(), Status.TIMEOUT)
