"""The simulation's clock with its event queue, and the request that passes through the simulated cluster."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """Result of a request: the HTTP status that its caller gets."""

    HIT = 0
    """200, from the cache."""
    OK = 200
    SHARED = 201
    """200, with the answer of an equal request that was in flight."""
    TOO_LONG = 413
    """Prompt and answer are longer than the shortest slot of the predictors."""
    TOO_MANY = 429
    """The predictor's queue was full, counted in tokens."""
    UNAVAILABLE = 503
    """The activator's or a queue-proxy's queue was full, or the pod was lost."""
    TIMEOUT = 504


SERVED = (Status.HIT, Status.OK, Status.SHARED)


class Clock:
    """Simulated time and the queue of future events. Events of equal times run in the order of their creation."""

    __slots__ = ("_heap", "_number", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._number = 0

    def call_at(self, time: float, callback: Callable[[Any], None], argument: object = None) -> None:
        """Call ``callback(argument)`` at a point of virtual time.

        Args:
            time: seconds, not in the past.
            callback: called once.
            argument: of the callback.
        """
        self._number += 1
        heapq.heappush(self._heap, (time, self._number, callback, argument))

    @property
    def next_time(self) -> float:
        """Time of the next event; infinity if there is none."""
        return self._heap[0][0] if self._heap else float("inf")

    def run_until(self, end: float) -> None:
        """Run all events up to and including ``end``, and set the clock to it."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, callback, argument = pop(heap)
            callback(argument)
        self.now = end


class SimulatedRequest:
    """A request and its state in the simulation."""

    __slots__ = (
        "arrived",
        "backend",
        "deadline",
        "ends_at",
        "followers",
        "front",
        "group",
        "index",
        "key",
        "new",
        "prompt",
        "reserved",
        "status",
    )

    def __init__(
        self, index: int, arrived: float, deadline: float, prompt: int, new: int, reserved: int, key: int
    ) -> None:
        self.index = index
        """In the workload."""
        self.arrived = arrived
        self.deadline = deadline
        """Time, in seconds from the start, at which its caller gives up."""
        self.prompt = prompt
        self.new = new
        """Tokens of its answer."""
        self.reserved = reserved
        """Tokens counted at admission."""
        self.key = key
        self.ends_at = 0
        """Number of the decode step that generates its last token."""
        self.status: Status | None = None
        """None until it has ended."""
        self.front: Any = None
        """The transformer pod that handles it."""
        self.backend: Any = None
        """The predictor pod that handles it."""
        self.followers: list[SimulatedRequest] | None = None
        """Requests with the same key that wait for its answer."""
        self.group: SimulatedGroup | None = None
        """The request that it is a text of, or the caller's request that has it sent; None: neither."""


class SimulatedGroup(SimulatedRequest):
    """A request with several texts: of a caller, or to the predictor."""

    __slots__ = ("answered", "failed", "in_flight", "remaining", "texts", "unsent")

    def __init__(self, texts: list[SimulatedRequest]) -> None:
        first = texts[0]
        super().__init__(first.index, first.arrived, first.deadline, 0, 0, sum(t.reserved for t in texts), -1)
        self.texts = texts
        for text in texts:
            text.group = self
        self.answered = Status.OK
        """Its status if no text fails."""
        self.remaining = len(texts)
        """Texts that have not ended."""
        self.failed: Status | None = None
        """Of the first text or group that failed."""
        self.unsent: list[SimulatedGroup] = []
        """Of a caller's request: requests to the predictor that wait for another one to end, the last one first."""
        self.in_flight = 0
        """Of a caller's request: requests to the predictor that have not ended."""


EndCallback = Callable[[SimulatedRequest, Status], None]
"""Called when a request ends."""
