"""A pod as Knative sees it: requests in it, the queue-proxy's queue, and the container behind.

The predictor's container has an event loop, which parses requests and sends answers, and a thread that decodes
(:mod:`knative.simulator.cluster.decoding`). The transformer's container has one event loop, and calls the predictor
through a bounded pool of connections.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from knative.simulator.cluster.cache import SimulatedCache
from knative.simulator.cluster.decoding import DecodingModel, SimulatedDecoder
from knative.simulator.engine.events import Clock, SimulatedRequest, Status
from knative.simulator.engine.processors import Processor


class Phase(Enum):
    """Where a pod is in its life."""

    PENDING = "pending"
    """No slice is free for it."""
    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"
    """Takes nothing new, finishes what it has."""
    GONE = "gone"


class SimulatedPod(ABC):
    """What both services' pods have in common."""

    def __init__(self, created: float) -> None:
        self.created = created
        self.phase = Phase.STARTING
        self.in_use = 0
        """Requests in the container."""
        self.queue: deque[SimulatedRequest] = deque()
        """The queue-proxy's, behind its breaker."""

    @abstractmethod
    def accept(self, request: SimulatedRequest) -> None:
        """Begin to work on a request."""

    @abstractmethod
    def expire(self, now: float) -> None:
        """End what waits in the container and is past its deadline."""

    @property
    def waiting_inside(self) -> int:
        """Requests that wait in the container."""
        return 0


LeaveCallback = Callable[["SimulatedPod", SimulatedRequest, Status], None]
"""Told of each request that leaves a pod's container."""
ThreadFactory = Callable[[], Processor]
"""Makes the processor of a new thread."""
Completion = tuple[SimulatedRequest, Status]
"""What an event loop carries from one place to the next."""


class PredictorPod(SimulatedPod):
    """A pod that decodes."""

    def __init__(
        self,
        clock: Clock,
        threads: ThreadFactory,
        model: DecodingModel,
        request_overhead_seconds: float,
        on_leave: LeaveCallback,
    ) -> None:
        """An idle pod.

        Args:
            clock: the simulation's.
            threads: for its event loop and its decoder.
            model: what its decoder can do.
            request_overhead_seconds: of its event loop per request, half of them on the way in.
            on_leave: is told of requests that leave.
        """
        super().__init__(clock.now)
        self._loop = threads().event_loop()
        self._way_seconds = request_overhead_seconds / 2
        self._on_leave = on_leave
        self.decoder = SimulatedDecoder(clock, threads(), model, self._answer)

    def accept(self, request: SimulatedRequest) -> None:
        request.backend = self
        self._loop.submit(self._way_seconds, self._submit, (request, Status.OK))

    def expire(self, now: float) -> None:
        self.decoder.expire(now)

    def kill(self) -> list[SimulatedRequest]:
        """The pod dies; returns what was in its container."""
        return [*(request for request, _ in self._loop.cancel_all()), *self.decoder.kill()]

    @property
    def waiting_inside(self) -> int:
        return len(self.decoder.waiting)

    def _submit(self, completion: Completion) -> None:
        if not self.decoder.submit(completion[0]):
            self._answer(completion[0], Status.TOO_MANY)

    def _answer(self, request: SimulatedRequest, status: Status) -> None:
        self._loop.submit(self._way_seconds, self._answered, (request, status))

    def _answered(self, completion: Completion) -> None:
        self._on_leave(self, *completion)


@dataclass(frozen=True, slots=True)
class TransformerModel:
    """One transformer pod.

    Its times were measured on a core of an AMD EPYC (docs/benchmarks/README.md); ``make bench-transformer`` measures
    your own.
    """

    hit_seconds: float = 0.00015
    """CPU time of a request that ends in the cache. The event loop does nothing else meanwhile."""
    miss_seconds: float = 0.0028
    """CPU time of one that goes on to the predictor, half of it before and half after the predictor's answer."""
    max_connections: int = 128
    """Requests to the predictor at a time, as ``YIWEN_MAX_CONNECTIONS``."""
    pool_timeout_s: float = 5.0
    """Seconds a request waits for one of them before 429, as ``YIWEN_POOL_TIMEOUT_S``."""
    start_seconds: float = 3.0
    """Start of the process to ready."""


class TransformerPod(SimulatedPod):
    """A pod that looks up, encodes and asks."""

    def __init__(
        self, clock: Clock, processor: Processor, model: TransformerModel, cache: SimulatedCache,
        ask: Callable[[SimulatedRequest], None], on_leave: LeaveCallback,
    ) -> None:  # fmt: skip
        """An idle pod.

        Args:
            clock: the simulation's.
            processor: of its event loop.
            model: what it costs.
            cache: shared by all pods.
            ask: has the predictor answer a request; the answer comes as :meth:`answered`.
            on_leave: is told of requests that leave.
        """
        super().__init__(clock.now)
        self._clock = clock
        self._model = model
        self._cache = cache
        self._ask = ask
        self._on_leave = on_leave
        self._loop = processor.event_loop()
        self._asking = 0
        self._asks_next = False
        self._pool: deque[tuple[float, SimulatedRequest]] = deque()
        """Requests that wait for a connection, and when they give up."""

    def accept(self, request: SimulatedRequest) -> None:
        request.front = self
        if self._cache.is_hit(request, self._clock.now):
            self._loop.submit(self._model.hit_seconds, self._hit, request)
        else:
            self._loop.submit(self._model.miss_seconds / 2, self._miss, request)

    def answered(self, request: SimulatedRequest, status: Status) -> None:
        """The predictor is done with a request of this pod."""
        self._asking -= 1
        self._loop.submit(self._model.miss_seconds / 2, self._answer, (request, status))
        if not self._asks_next:
            self._ask_next()

    def end(self, request: SimulatedRequest, status: Status) -> None:
        """A request that is in this pod has ended."""
        self._on_leave(self, request, status)

    def expire(self, now: float) -> None:
        pool = self._pool
        while pool and pool[0][0] <= now:
            self._give_up(pool.popleft()[1])

    @property
    def waiting_inside(self) -> int:
        return len(self._pool)

    def _answer(self, completion: Completion) -> None:
        self.end(*completion)

    def _hit(self, request: SimulatedRequest) -> None:
        self.end(request, Status.HIT)

    def _miss(self, request: SimulatedRequest) -> None:
        now = self._clock.now
        if request.deadline <= now:
            self.end(request, Status.TIMEOUT)
        elif self._cache.follows(request):
            pass  # it ends with the one that leads
        elif self._asking >= self._model.max_connections:
            self._pool.append((min(now + self._model.pool_timeout_s, request.deadline), request))
        else:
            self._asking += 1
            self._ask(request)

    def _ask_next(self) -> None:
        """Give free connections to those that wait. A refusal comes back before the question has returned."""
        self._asks_next = True
        self.expire(self._clock.now)
        while self._pool and self._asking < self._model.max_connections:
            self._asking += 1
            self._ask(self._pool.popleft()[1])
        self._asks_next = False

    def _give_up(self, request: SimulatedRequest) -> None:
        self.end(request, Status.TIMEOUT if request.deadline <= self._clock.now else Status.TOO_MANY)
