"""The way of requests to a revision's pods: through the activator, or straight to the queue-proxies.

Numbers and rules are Knative's (``docs/autoscaling.md``): a pod takes ``containerConcurrency`` requests. Behind an
activator up to 10,000 more wait; straight to the pods, a queue-proxy holds ten times its concurrency. Beyond
that the answer is 503. The activator chooses the better of two random pods without a limit, the first with room up to
3, and goes round otherwise; the ingress goes round.

What it leaves out: several activators are one here, as if each knew what the others send.
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
"""containerConcurrency up to which the activator takes the first pod with room."""
NO_LIMIT = 1 << 40


class Revision:
    """One revision's data path."""

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
            container_concurrency: requests a pod takes at a time; 0: any number.
            rng: draws two pods.
            on_end: is told each request's end.
        """
        self._clock = clock
        self._unlimited = container_concurrency == 0
        self._limit = container_concurrency or NO_LIMIT
        self._rng = rng
        self._on_end = on_end
        self.ready: list[SimulatedPod] = []
        self.activator_in_path = True
        """Whether the activator is in the path."""
        self.waiting: deque[SimulatedRequest] = deque()
        """In the activator, for a pod with room."""
        self.in_flight = 0
        """Requests anywhere between the ingress and the answer."""
        self.on_first_request: Callable[[Stat], None] = lambda stat: None
        """Called when a request comes to a revision without any, as an activator tells the autoscaler."""
        self._first = False
        self._turn = 0
        self._free_capacity = 0
        """Requests that the ready pods could take now."""
        self._reported = 0.0
        self._integral = 0.0
        """Of the requests in flight over time, less in_flight times now."""
        self._arrivals = 0

    def arrive(self, request: SimulatedRequest) -> None:
        """A request comes."""
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
        """A pod's container is done with a request."""
        pod.in_use -= 1
        if pod.phase is Phase.READY:
            self._free_capacity += 1
        self._end(request, status)
        self._refill(pod)

    def add(self, pod: SimulatedPod) -> None:
        """A pod became ready."""
        pod.phase = Phase.READY
        self.ready.append(pod)
        self._free_capacity += self._limit - pod.in_use
        self._refill(pod)

    def remove(self, pod: SimulatedPod) -> None:
        """A ready pod takes nothing new any more."""
        self.ready.remove(pod)
        self._free_capacity -= self._limit - pod.in_use

    def fail(self, pod: SimulatedPod, inside: Sequence[SimulatedRequest]) -> None:
        """A pod died: what was inside it and in its queue gets 503."""
        for request in (*inside, *pod.queue):
            self._end(request, Status.UNAVAILABLE)
        pod.queue.clear()
        pod.in_use = 0

    def expire(self) -> None:
        """End what waits in vain. Everyone waits equally long, so the oldest are looked at first."""
        now = self._clock.now
        _expire(self.waiting, now, self._end)
        for pod in self.ready:
            _expire(pod.queue, now, self._end)
            pod.expire(now)

    def report(self) -> Stat:
        """Load since the last report, of all sources together."""
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
        """Requests that wait, wherever."""
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
        """The activator's choice; there is a pod with room."""
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
        """Go round; with ``room``, among the pods that have some."""
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
        """Give a pod with room what waits for it."""
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
