"""Time in the simulator: a heap of what happens next, and the request that travels through it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """How a request ended: the HTTP status its caller saw."""

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
    """What happens next. Events of one time happen in the order they were made."""

    __slots__ = ("_heap", "_number", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._number = 0

    def call_at(self, time: float, what: Callable[[Any], None], argument: object = None) -> None:
        """Have ``what(argument)`` happen at ``time``, which must not be past."""
        self._number += 1
        heapq.heappush(self._heap, (time, self._number, what, argument))

    @property
    def next_time(self) -> float:
        """When the next event happens; infinity if there is none."""
        return self._heap[0][0] if self._heap else float("inf")

    def run_until(self, end: float) -> None:
        """Let everything before ``end`` happen, and what is due at it."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, what, argument = pop(heap)
            what(argument)
        self.now = end


class SimulatedRequest:
    """One request under way."""

    __slots__ = (
        "arrived",
        "backend",
        "deadline",
        "ends_at",
        "followers",
        "front",
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
        """Seconds from the start after which nobody waits any more."""
        self.prompt = prompt
        self.new = new
        """Tokens of its answer."""
        self.reserved = reserved
        """Tokens counted at admission."""
        self.key = key
        self.ends_at = 0
        """The pod's step that generates its last token."""
        self.status: Status | None = None
        """Set once it has ended."""
        self.front: Any = None
        """The transformer's pod that holds it."""
        self.backend: Any = None
        """The predictor's pod that holds it."""
        self.followers: list[SimulatedRequest] | None = None
        """Equal requests that wait for its answer."""


EndCallback = Callable[[SimulatedRequest, Status], None]
"""Called when a request ends."""
