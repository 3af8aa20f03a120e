"""Pods: the queue of the queue-proxy, and the container behind it.

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
from knative.simulator.engine.events import SERVED, Clock, SimulatedGroup, SimulatedRequest, Status
from knative.simulator.engine.processors import Processor

GROUP_SIZE, GROUPS_IN_FLIGHT = 8, 3
"""As ``YIWEN_PREDICTOR_GROUP_SIZE`` and ``YIWEN_PREDICTOR_GROUPS_IN_FLIGHT``."""


class Phase(Enum):
    """Lifecycle phase of a pod."""

    PENDING = "pending"
    """It waits for a free slice."""
    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"
    """It takes no new requests, and finishes those that it has."""
    GONE = "gone"


class SimulatedPod(ABC):
    """A pod of either service."""

    def __init__(self, created: float) -> None:
        self.created = created
        self.phase = Phase.STARTING
        self.in_use = 0
        """Requests in the container."""
        self.queue: deque[SimulatedRequest] = deque()
        """Requests that wait in the queue-proxy."""

    @abstractmethod
    def accept(self, request: SimulatedRequest) -> None:
        """Pass a request to the container."""

    @abstractmethod
    def expire(self, now: float) -> None:
        """End requests that wait in the container and whose deadline has passed."""

    @property
    def waiting_inside(self) -> int:
        """Requests that wait in the container."""
        return 0


LeaveCallback = Callable[["SimulatedPod", SimulatedRequest, Status], None]
"""Called for each request that leaves a pod's container."""
ThreadFactory = Callable[[], Processor]
"""Creates the processor of a new thread."""
Completion = tuple[SimulatedRequest, Status]
"""A request and its result so far, as the argument of a task."""


class PredictorPod(SimulatedPod):
    """A predictor pod."""

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
            model: of its decoder.
            request_overhead_seconds: CPU time of its event loop per request, half before and half after decoding.
            on_leave: called for each request that leaves.
        """
        super().__init__(clock.now)
        self._loop = threads().event_loop()
        self._one_way_seconds = request_overhead_seconds / 2
        self._on_leave = on_leave
        self.decoder = SimulatedDecoder(clock, threads(), model, self._answer)

    def accept(self, request: SimulatedRequest) -> None:
        request.backend = self
        self._loop.submit(self._one_way_seconds, self._submit, (request, Status.OK))

    def expire(self, now: float) -> None:
        self.decoder.expire(now)

    def kill(self) -> list[SimulatedRequest]:
        """Stop, as the pod has died; returns the requests in its container."""
        lost = [*(request for request, _ in self._loop.cancel_all()), *self.decoder.kill()]
        return list(dict.fromkeys(request.group or request for request in lost))

    @property
    def waiting_inside(self) -> int:
        return len(self.decoder.waiting)

    def _submit(self, completion: Completion) -> None:
        request = completion[0]
        texts = request.texts if isinstance(request, SimulatedGroup) else None
        if texts is None:
            accepted = self.decoder.submit(request)
        else:  # all of its texts or none
            accepted = self.decoder.has_room(request.reserved)
            for text in texts if accepted else ():
                self.decoder.submit(text)
        if not accepted:
            self._loop.submit(self._one_way_seconds, self._answered, (request, Status.TOO_MANY))

    def _answer(self, request: SimulatedRequest, status: Status) -> None:
        """A text has ended; the request that it is a text of is answered with its last one."""
        group = request.group
        if group is not None:
            group.remaining -= 1
            if status is not Status.OK:
                group.failed = group.failed or status
            if group.remaining:
                return
            request, status = group, group.failed or Status.OK
        self._loop.submit(self._one_way_seconds, self._answered, (request, status))

    def _answered(self, completion: Completion) -> None:
        self._on_leave(self, *completion)


@dataclass(frozen=True, slots=True)
class TransformerModel:
    """CPU times and limits of a transformer pod.

    Its times were measured on a core of an AMD EPYC (docs/benchmarks/README.md); ``make bench-transformer`` measures
    your own.
    """

    hit_seconds: float = 0.00015
    """CPU time of a cache hit, on the event loop."""
    miss_seconds: float = 0.0028
    """CPU time of a request to the predictor, half of it before and half after the answer."""
    max_connections: int = 512
    """Concurrent requests to the predictor, as ``YIWEN_MAX_CONNECTIONS``."""
    pool_timeout_s: float = 5.0
    """Seconds that a request waits for a connection before it gets 429, as ``YIWEN_POOL_TIMEOUT_S``."""
    start_seconds: float = 3.0
    """Seconds from the start of the process to ready."""
    group_size: int = 0
    """Texts in a request to the predictor, as ``YIWEN_PREDICTOR_GROUP_SIZE``; 0: the manifest's, or 8."""
    groups_in_flight: int = 0
    """Such requests that a caller's request has in flight, as ``YIWEN_PREDICTOR_GROUPS_IN_FLIGHT``; 0: the
    manifest's, or 3."""


class TransformerPod(SimulatedPod):
    """A transformer pod."""

    def __init__(
        self, clock: Clock, processor: Processor, model: TransformerModel, cache: SimulatedCache,
        ask: Callable[[SimulatedRequest], None], on_leave: LeaveCallback,
    ) -> None:  # fmt: skip
        """An idle pod.

        Args:
            clock: the simulation's.
            processor: of its event loop.
            model: its CPU times and limits.
            cache: shared by all pods.
            ask: sends a request to the predictor; the answer comes by :meth:`answered`.
            on_leave: called for each request that leaves.
        """
        super().__init__(clock.now)
        self._clock = clock
        self._model = model
        self._group_size = model.group_size or GROUP_SIZE
        self._groups_in_flight = model.groups_in_flight or GROUPS_IN_FLIGHT
        self._cache = cache
        self._ask = ask
        self._on_leave = on_leave
        self._loop = processor.event_loop()
        self._asking = 0
        self._asks_next = False
        self._pool: deque[tuple[float, SimulatedRequest]] = deque()
        """Requests that wait for a connection, with the time at which each gives up."""
        self._calls: dict[SimulatedGroup, SimulatedGroup] = {}
        """The caller's request of each request to the predictor."""

    def accept(self, request: SimulatedRequest) -> None:
        request.front = self
        if isinstance(request, SimulatedGroup):
            self._loop.submit(self._model.hit_seconds, self._look_up, request)
        elif self._cache.is_hit(request, self._clock.now):
            self._loop.submit(self._model.hit_seconds, self._hit, request)
        else:
            self._loop.submit(self._model.miss_seconds / 2, self._miss, request)

    def answered(self, request: SimulatedRequest, status: Status) -> None:
        """The predictor has answered a request of this pod."""
        self._asking -= 1
        ended = self._group_answered if isinstance(request, SimulatedGroup) else self._answer
        self._loop.submit(self._model.miss_seconds / 2, ended, (request, status))
        if not self._asks_next:
            self._ask_next()

    def end(self, request: SimulatedRequest, status: Status) -> None:
        """End a request of this pod."""
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
            pass  # it ends with its leader
        else:
            self._connect(request)

    def _connect(self, request: SimulatedRequest) -> None:
        """Send a request to the predictor, or have it wait for a connection."""
        now = self._clock.now
        if self._asking >= self._model.max_connections:
            self._pool.append((min(now + self._model.pool_timeout_s, request.deadline), request))
        else:
            self._asking += 1
            self._ask(request)

    def _ask_next(self) -> None:
        """Give free connections to waiting requests. A refusal arrives within the call of ``ask``."""
        self._asks_next = True
        self.expire(self._clock.now)
        while self._pool and self._asking < self._model.max_connections:
            self._asking += 1
            self._ask(self._pool.popleft()[1])
        self._asks_next = False

    def _give_up(self, request: SimulatedRequest) -> None:
        status = Status.TIMEOUT if request.deadline <= self._clock.now else Status.TOO_MANY
        if isinstance(request, SimulatedGroup):
            self._group_answered((request, status))
        else:
            self.end(request, status)

    def end_follower(self, text: SimulatedRequest, status: Status) -> None:
        """The leader of a text of this pod has ended."""
        call = text.group
        if call is None:
            self.end(text, status)
        else:
            self._texts_ended(call, 1, status)

    def _look_up(self, call: SimulatedGroup) -> None:
        """Sort the texts of a caller's request: hits, followers, and groups for the predictor."""
        now = self._clock.now
        if call.deadline <= now:
            self.end(call, Status.TIMEOUT)
            return
        misses = [text for text in call.texts if not self._cache.is_hit(text, now)]
        for text in misses:
            text.front = self
        led = [text for text in misses if not self._cache.follows(text)]
        size = self._group_size
        groups = [SimulatedGroup(led[start : start + size]) for start in range(0, len(led), size)]
        call.unsent = groups[::-1]
        for group in groups:
            group.front, group.group = self, call
        call.answered = Status.OK if led else Status.SHARED if misses else Status.HIT
        self._texts_ended(call, len(call.texts) - len(misses), Status.OK)
        for _ in range(min(self._groups_in_flight, len(groups))):
            self._send_group(call)

    def _send_group(self, call: SimulatedGroup) -> None:
        call.in_flight += 1
        self._loop.submit(self._model.miss_seconds / 2, self._group_encoded, call.unsent.pop())

    def _group_encoded(self, group: SimulatedGroup) -> None:
        if group.deadline <= self._clock.now:
            self._group_answered((group, Status.TIMEOUT))
            return
        # In the predictor a group is a request of its own.
        self._calls[group], group.group = _call_of(group), None
        self._connect(group)

    def _group_answered(self, completion: Completion) -> None:
        """A request to the predictor has ended, and with it its texts."""
        group, status = completion
        assert isinstance(group, SimulatedGroup)
        call = self._calls.pop(group, None) or _call_of(group)
        call.in_flight -= 1
        if status is not Status.OK:
            unsent, call.unsent = call.unsent, []
            self._end_texts(call, [text for each in unsent for text in each.texts], status)
        elif call.unsent:
            self._send_group(call)
        self._end_texts(call, group.texts, status)

    def _end_texts(self, call: SimulatedGroup, texts: list[SimulatedRequest], status: Status) -> None:
        for text in texts:
            for follower in self._cache.finish(text, status, self._clock.now):
                follower.front.end_follower(follower, Status.SHARED if status is Status.OK else status)
        self._texts_ended(call, len(texts), status)

    def _texts_ended(self, call: SimulatedGroup, count: int, status: Status) -> None:
        """Texts of a caller's request have ended; it ends with the last one."""
        call.remaining -= count
        if status not in SERVED:
            call.failed = call.failed or status
        if count and not call.remaining:
            self.end(call, call.failed or call.answered)


def _call_of(group: SimulatedGroup) -> SimulatedGroup:
    assert group.group is not None
    return group.group
