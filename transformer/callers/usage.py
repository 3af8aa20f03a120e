"""What callers have used: characters of a month and requests of a second, in Redis or in this process.

In Redis one script checks and counts both at once, so that replicas together let nobody exceed a limit. Without
Redis each process counts for itself. While Redis does not answer each process goes on from the last count that it was
told, and what it counts meanwhile is added once Redis answers again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from transformer.cache.redis_client import RedisStore, ScriptCall, StoreError
from transformer.cache.redis_scripts import CHARGE, REFUND
from transformer.callers.key_file import ApiKey

_MONTH_MS = 40 * 86_400_000
"""Lifetime of a month's counter."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The answer to a request for characters."""

    used: int
    """Characters of this month, those of this request included if it was allowed."""
    quota_exceeded: bool = False
    retry_after_s: float | None = None
    """Set for a request that comes too soon after others."""


class UsageCounter(Protocol):
    """Counts what each caller uses."""

    async def charge(self, key: ApiKey, characters: int, *, requests: int = 1) -> Charge:
        """Count a request unless it exceeds a limit.

        Args:
            key: the caller's.
            characters: of the request's texts.
            requests: 0 only looks up what was used.
        """
        ...

    async def refund(self, key: ApiKey, characters: int) -> None:
        """Take characters back that were not answered."""
        ...


class MemoryUsage:
    """Counts of this process alone."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: dict[tuple[str, str], int] = {}
        self._free_at: dict[str, float] = {}

    async def charge(self, key: ApiKey, characters: int, *, requests: int = 1) -> Charge:
        """As :meth:`UsageCounter.charge`."""
        now = self._clock()
        month = (key.id, month_of(now))
        used = self._used.get(month, 0)
        if not requests:
            return Charge(used)
        limit = key.characters_per_month
        if limit is not None and used + characters > limit:
            return Charge(used, quota_exceeded=True)
        if key.requests_per_second is not None:
            interval, burst_s = pace(key.requests_per_second)
            free_at = max(now, self._free_at.get(key.id, now))
            if free_at - now > burst_s - interval + 1e-9:
                return Charge(used, retry_after_s=free_at - now - burst_s + interval)
            self._free_at[key.id] = free_at + interval
        self._used[month] = used + characters
        return Charge(used + characters)

    async def refund(self, key: ApiKey, characters: int) -> None:
        """As :meth:`UsageCounter.refund`."""
        month = (key.id, month_of(self._clock()))
        self._used[month] = max(0, self._used.get(month, 0) - characters)

    def go_on_from(self, key: ApiKey, used: int) -> None:
        """Take over what another counter knows of this month."""
        self._used[key.id, month_of(self._clock())] = used


class RedisUsage:
    """Counts that replicas share.

    A command whose answer does not come in time may have been done all the same, and is then counted twice: a quota
    is rather used up too early than exceeded.
    """

    def __init__(self, store: RedisStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._own = MemoryUsage(clock)
        self._owed: Counter[tuple[str, str]] = Counter()
        """Characters by key and month that were counted while Redis did not answer; negative ones are given back."""

    async def charge(self, key: ApiKey, characters: int, *, requests: int = 1) -> Charge:
        """As :meth:`UsageCounter.charge`."""
        interval, burst_s = pace(key.requests_per_second) if key.requests_per_second else (0.0, 0.0)
        limit = -1 if key.characters_per_month is None else key.characters_per_month
        month = (key.id, month_of(self._clock()))
        owed = self._owed.pop(month, 0)
        arguments = (
            characters,
            limit,
            requests,
            round(interval * 1e6),
            round(burst_s * 1e6),
            _MONTH_MS,
            owed,
        )
        try:
            answer = await self._run(ScriptCall(CHARGE, self._keys(key), arguments))
        except asyncio.CancelledError:
            self._owed[month] += owed
            raise
        if not isinstance(answer, list):
            charge = await self._own.charge(key, characters, requests=requests)
            is_counted = requests and not charge.quota_exceeded and charge.retry_after_s is None
            self._owed[month] += owed + (characters if is_counted else 0)
            return charge
        verdict, used, wait_us = answer
        self._own.go_on_from(key, int(used) + self._owed[month])
        if verdict == b"ok":
            return Charge(int(used))
        if verdict == b"quota":
            return Charge(int(used), quota_exceeded=True)
        return Charge(int(used), retry_after_s=int(wait_us) / 1e6)

    async def refund(self, key: ApiKey, characters: int) -> None:
        """As :meth:`UsageCounter.refund`."""
        if await self._run(ScriptCall(REFUND, self._keys(key)[:1], (characters,))) is None:
            await self._own.refund(key, characters)
            self._owed[key.id, month_of(self._clock())] -= characters

    async def _run(self, call: ScriptCall) -> object:
        """What a script returns; None if Redis does not answer."""
        try:
            (answer,) = await self._store.run_many([call])
        except StoreError:
            return None
        return None if isinstance(answer, StoreError) else answer

    def _keys(self, key: ApiKey) -> tuple[str, str]:
        """Counter of the month and time of the next free request, in one cluster slot."""
        slot = f"yiwen:caller:{{{key.id}}}"
        return f"{slot}:{month_of(self._clock())}", f"{slot}:next"


def month_of(now: float) -> str:
    """The calendar month of a Unix time, UTC: ``2026-11``."""
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m")


def pace(requests_per_second: float) -> tuple[float, float]:
    """Seconds between requests, and seconds' worth of requests that may come at once (at least one request)."""
    interval = 1.0 / requests_per_second
    return interval, max(1.0, interval)
