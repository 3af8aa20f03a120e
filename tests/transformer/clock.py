"""Time that passes when a test says so."""

from __future__ import annotations

from collections.abc import Sequence

from transformer.cache.entries import CacheEntry
from transformer.cache.memory import NullCache


class StoppedClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class SlowCache(NullCache):
    """Takes ``seconds`` of a clock's to find nothing."""

    def __init__(self, clock: StoppedClock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        self.clock.now += self.seconds
        return await super().get_many(keys)
