"""A pod as Knative sees it: requests in it, the queue-proxy's queue, and the container behind.

The predictor's container decodes (:mod:`knative.simulator.decoding`); the transformer's is one event loop that takes
one request after the other, and asks the predictor through a bounded pool of connections.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from knative.simulator.cache import Cache
from knative.simulator.decoding import Decoder, DecodingModel
from knative.simulator.events import Clock, Request, Status


class Phase(Enum):
    """Where a pod is in its life."""

    PENDING = "pending"
    """No slice is free for it."""
    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"
    """Takes nothing new, finishes what it has."""
    GONE = "gone"


class Pod(ABC):
    """What both services' pods have in common."""

    def __init__(self, created: float) -> None:
        self.created = created
        self.phase = Phase.STARTING
        self.in_use = 0
        """Requests in the container."""
        self.queue: deque[Request] = deque()
        """The queue-proxy's, behind its breaker."""

    @abstractmethod
    def accept(self, request: Request) -> bool:
        """Begin to work on a request; False if the container refuses it with 429."""

    @abstractmethod
    def expire(self, now: float) -> None:
        """End what waits in the container and is past its deadline."""

    @property
    def waiting_inside(self) -> int:
        """Requests that wait in the container."""
        return 0


Left = Callable[["Pod", Request, Status], None]
"""Told of each request that leaves a pod's container."""


class PredictorPod(Pod):
    """A pod that decodes."""

    def __init__(self, clock: Clock, model: DecodingModel, left: Left) -> None:
        super().__init__(clock.now)
        self.decoder = Decoder(clock, model, lambda request, status: left(self, request, status))

    def accept(self, request: Request) -> bool:
        request.backend = self
        return self.decoder.submit(request)

    def expire(self, now: float) -> None:
        self.decoder.expire(now)

    def lose(self) -> list[Request]:
        """The pod dies; returns what was in its container."""
        return self.decoder.lose()

    @property
    def waiting_inside(self) -> int:
        return len(self.decoder.waiting)


@dataclass(frozen=True, slots=True)
class TransformerModel:
    """One transformer pod. Its times are assumptions: `python -m benchmarks.transformer` measures a machine's own."""

    hit_seconds: float = 0.0008
    """CPU time of a request that ends in the cache. The event loop does nothing else meanwhile."""
    miss_seconds: float = 0.002
    """CPU time of one that goes on to the predictor, both ways."""
    max_connections: int = 128
    """Requests to the predictor at a time, as ``YIWEN_MAX_CONNECTIONS``."""
    pool_timeout_s: float = 5.0
    """Seconds a request waits for one of them before 429, as ``YIWEN_POOL_TIMEOUT_S``."""
    start_seconds: float = 3.0
    """Start of the process to ready."""


class TransformerPod(Pod):
    """A pod that looks up, encodes and asks."""

    def __init__(
        self, clock: Clock, model: TransformerModel, cache: Cache, ask: Callable[[Request], None], left: Left
    ) -> None:
        """An idle pod.

        Args:
            clock: the simulation's.
            model: what it costs.
            cache: shared by all pods.
            ask: has the predictor answer a request; the answer comes as :meth:`answered`.
            left: is told of requests that leave.
        """
        super().__init__(clock.now)
        self._clock = clock
        self._model = model
        self._cache = cache
        self._ask = ask
        self._left = left
        self._free_at = 0.0
        """When the event loop has done all it was given."""
        self._asking = 0
        self._asks_next = False
        self._pool: deque[tuple[float, Request]] = deque()
        """Requests that wait for a connection, and when they give up."""

    def accept(self, request: Request) -> bool:
        clock, model = self._clock, self._model
        request.front = self
        begin = self._free_at if self._free_at > clock.now else clock.now
        if self._cache.is_hit(request, clock.now):
            self._free_at = begin + model.hit_seconds
            clock.at(self._free_at, self._hit, request)
        else:
            self._free_at = begin + model.miss_seconds
            clock.at(self._free_at, self._miss, request)
        return True

    def answered(self, request: Request, status: Status) -> None:
        """The predictor is done with a request of this pod."""
        self._asking -= 1
        self.end(request, status)
        if not self._asks_next:
            self._ask_next()

    def end(self, request: Request, status: Status) -> None:
        """A request that is in this pod has ended."""
        self._left(self, request, status)

    def expire(self, now: float) -> None:
        pool = self._pool
        while pool and pool[0][0] <= now:
            self._give_up(pool.popleft()[1])

    @property
    def waiting_inside(self) -> int:
        return len(self._pool)

    def _hit(self, request: Request) -> None:
        self.end(request, Status.HIT)

    def _miss(self, request: Request) -> None:
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

    def _give_up(self, request: Request) -> None:
        self.end(request, Status.TIMEOUT if request.deadline <= self._clock.now else Status.TOO_MANY)
