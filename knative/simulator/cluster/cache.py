"""The cache that all transformers share, with single flight."""

from __future__ import annotations

from collections.abc import Iterable

from knative.simulator.engine.events import SimulatedRequest, Status

ALWAYS = -2
"""Key of a request that is always a hit."""


class SimulatedCache:
    """Expiry times of cached keys, and the leaders and followers of single flight."""

    def __init__(self, ttl_s: float, warm: Iterable[int]) -> None:
        """A cache that holds the keys ``warm`` at the start; every entry lives for ``ttl_s`` seconds."""
        self._ttl_s = ttl_s
        self._until = dict.fromkeys(warm, ttl_s)
        self._leaders: dict[int, SimulatedRequest] = {}

    def is_hit(self, request: SimulatedRequest, now: float) -> bool:
        """Whether the request's answer is cached."""
        key = request.key
        return key == ALWAYS or (key >= 0 and self._until.get(key, 0.0) > now)

    def follows(self, request: SimulatedRequest) -> bool:
        """Make a request a follower of the one in flight with its key; False if it becomes the leader instead."""
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
        """End a request and cache its answer.

        Args:
            request: any that was looked up.
            status: with which it ended; only OK is cached.
            now: seconds of virtual time.

        Returns:
            The followers of a leader, which end as it did.
        """
        if self._leaders.get(request.key) is not request:
            return []
        del self._leaders[request.key]
        if status is Status.OK:
            self._until[request.key] = now + self._ttl_s
        return request.followers or []
