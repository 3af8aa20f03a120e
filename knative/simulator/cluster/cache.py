"""The transformers' shared cache with its single flight: which requests need no predictor."""

from __future__ import annotations

from collections.abc import Iterable

from knative.simulator.engine.events import SimulatedRequest, Status

ALWAYS = -2
"""Key of a request that is a hit whatever was asked before."""


class SimulatedCache:
    """Answers by text, and who waits for which."""

    def __init__(self, ttl_s: float, warm: Iterable[int]) -> None:
        """A cache that holds ``warm`` for ``ttl_s`` seconds from the start, as everything later."""
        self._ttl_s = ttl_s
        self._until = dict.fromkeys(warm, ttl_s)
        self._leaders: dict[int, SimulatedRequest] = {}

    def is_hit(self, request: SimulatedRequest, now: float) -> bool:
        """Whether its answer is cached."""
        key = request.key
        return key == ALWAYS or (key >= 0 and self._until.get(key, 0.0) > now)

    def follows(self, request: SimulatedRequest) -> bool:
        """Have a request wait for an equal one in flight; False, if there is none: then it leads."""
        if request.key < 0:
            return False
        leader = self._leaders.setdefault(request.key, request)
        if leader is request:
            return False
        if leader.followers is None:
            leader.followers = []
        leader.followers.append(request)
        return True

    def finish(self, request: SimulatedRequest, status: Status, now: float) -> list[SimulatedRequest]:
        """A request has left its pod; returns those that waited for its answer, or its failure."""
        if self._leaders.get(request.key) is not request:
            return []
        del self._leaders[request.key]
        if status is Status.OK:
            self._until[request.key] = now + self._ttl_s
        return request.followers or []
