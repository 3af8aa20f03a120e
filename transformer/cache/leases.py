"""Leases in Redis: of several replicas that miss the same text, the holder of its lease generates it.

A lease lies beside its value, in the same cluster slot, and ends by itself when its holder dies. It saves work and
guards nothing else: without a lease everybody generates for themselves, which is never wrong. Here a process takes,
renews and looks at leases; they are given back with the value (:mod:`transformer.cache.redis_cache`), and who waits
for whom is decided in :mod:`transformer.generation.miss_coordinator`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from transformer.cache.breaker_store import BreakerStore
from transformer.cache.entries import CacheEntry
from transformer.cache.redis_client import ScriptCall, StoreError
from transformer.cache.redis_scripts import ACQUIRE, RELEASE, RENEW, STORE_AND_RELEASE
from transformer.metrics import SingleFlightMetrics

T = TypeVar("T")
_log = logging.getLogger("yiwen.cache")

RENEWALS_PER_LEASE = 3
"""A holder may be late with two of them."""
LEASES_AT_ONCE = 100
"""In one pipeline, which holds up the event loop for about 1 ms. One request may hold a thousand leases, and several
such requests renew all of theirs at the same time."""
REFUSED_S = 60.0
"""How long a Redis that refuses scripts is not asked to run any; its user's rights may have been changed then."""


_REFUSALS = ("auth", "response")
"""Kinds of fault that come of missing rights: what a script may not do, it fails of with an error of its own."""


class LeaseState(str, Enum):
    """The state of the lease of a key without a value."""

    HELD = "held"
    """This process has the lease."""
    BUSY = "busy"
    """Another holder has it."""
    FREE = "free"
    """Nobody has it. Only ``peek`` returns this."""
    UNAVAILABLE = "unavailable"
    """No lease can be had: Redis is not used or fails, or its value cannot be used."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that this process holds."""

    key: str
    """Of the value that it is about."""
    token: bytes


class SharedLeases(Protocol):
    """Leases shared by all replicas; ``wanted`` is (key, normal text) each, as in a look-up."""

    async def acquire(self, wanted: Sequence[tuple[bytes, str]]) -> list[CacheEntry | LeaseState]:
        """Acquire each lease, unless the translation exists by now or another replica holds it."""
        ...

    async def peek(self, wanted: Sequence[tuple[bytes, str]]) -> list[CacheEntry | LeaseState]:
        """The current value or lease state of each, without acquiring."""
        ...

    def release(self, keys: Iterable[bytes]) -> None:
        """Release the leases that are still held, in the background."""
        ...


class NoLeases:
    """The null object for a transformer without Redis."""

    async def acquire(self, wanted: Sequence[tuple[bytes, str]]) -> list[CacheEntry | LeaseState]:
        return [LeaseState.UNAVAILABLE] * len(wanted)

    async def peek(self, wanted: Sequence[tuple[bytes, str]]) -> list[CacheEntry | LeaseState]:
        return [LeaseState.UNAVAILABLE] * len(wanted)

    def release(self, keys: Iterable[bytes]) -> None:
        return


NO_LEASES = NoLeases()


def lease_key(key: str) -> str:
    """Where the lease of the value at ``key`` lies: in the same slot, since the braces hold all that is hashed."""
    return f"{{{key}}}:lease"


class Leases:
    """The leases of one process; belongs to one event loop. Keys are those of the values, as the store has them."""

    def __init__(
        self,
        store: BreakerStore,
        lease_s: float,
        metrics: SingleFlightMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._lease_ms = max(1, round(lease_s * 1000))
        self._metrics = metrics
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._held: dict[str, Lease] = {}
        self._renewer: asyncio.Task[None] | None = None
        self._refused_until = float("-inf")
        self._told = False

    async def acquire(self, keys: Sequence[str]) -> list[bytes | LeaseState]:
        """Take each key's lease: HELD, BUSY, UNAVAILABLE, or its value, if it was stored meanwhile.

        It takes a round trip for each :data:`LEASES_AT_ONCE` of them.
        """
        states: list[bytes | LeaseState] = []
        for some in _slices(keys):
            states += await self._acquire_some(some)
        if self._held and (self._renewer is None or self._renewer.done()):
            self._renewer = asyncio.create_task(self._renew())
        for state in states:
            self._metrics.acquisitions[state.value if isinstance(state, LeaseState) else "value",].inc()
        return states

    async def _acquire_some(self, keys: Sequence[str]) -> list[bytes | LeaseState]:
        answers = None
        if self._store.answers and self._clock() >= self._refused_until:
            calls = [
                ScriptCall(ACQUIRE, (key, lease_key(key)), (self._holder, self._lease_ms)) for key in keys
            ]
            answers = await self._store.ask("lease", keys, lambda store: store.run_many(calls))
        if answers is None:
            return [LeaseState.UNAVAILABLE] * len(keys)
        return list(map(self._acquired, keys, answers))

    async def peek(self, keys: Sequence[str]) -> list[bytes | LeaseState]:
        """Each key's value, or how things stand with it: BUSY, FREE or UNAVAILABLE; one round trip."""
        both = [each for key in keys for each in (key, lease_key(key))]
        found = await self._store.ask("lease", both, lambda store: store.get_many(both))
        if found is None:
            return [LeaseState.UNAVAILABLE] * len(keys)
        pairs = zip(found[::2], found[1::2], strict=True)
        return [
            value if value is not None else LeaseState.FREE if token is None else LeaseState.BUSY
            for value, token in pairs
        ]

    def detach(self, key: str) -> Lease | None:
        """Hand over the lease of ``key``, if held; it is not renewed any more."""
        held = self._held.pop(key, None)
        self._show()
        return held

    async def close(self) -> None:
        """Stop renewing; held leases expire."""
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.gather(self._renewer, return_exceptions=True)

    def _acquired(self, key: str, answer: Any) -> bytes | LeaseState:  # noqa: ANN401  what a script returns
        if isinstance(answer, StoreError):
            self._store.count_fault("lease", answer)
            if answer.kind in _REFUSALS:
                self._refuse()
            return LeaseState.UNAVAILABLE
        state, *rest = answer
        if state == b"value":
            return bytes(rest[0])
        if state == b"busy":
            return LeaseState.BUSY
        self._held[key] = Lease(key, rest[0])
        self._show()
        return LeaseState.HELD

    def _refuse(self) -> None:
        self._refused_until = self._clock() + REFUSED_S
        if not self._told:
            self._told = True
            _log.warning(
                "Redis refuses leases, so replicas may translate the same text at the same time; "
                "give its user the rights +eval +evalsha +time ~{yiwen:*"
            )

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(self._lease_s / RENEWALS_PER_LEASE)
            for some in _slices(list(self._held.values())):
                await self._renew_some([each for each in some if self._held.get(each.key) is each])

    async def _renew_some(self, held: Sequence[Lease]) -> None:
        if not held:
            return
        calls = [ScriptCall(RENEW, (lease_key(each.key),), (each.token, self._lease_ms)) for each in held]
        keys = [each.key for each in held]
        answers = await self._store.ask("lease", keys, lambda store: store.run_many(calls))
        for each, answer in zip(held, answers or (), strict=False):
            if answer == 0 and self._held.get(each.key) is each:
                self.detach(each.key)  # it had ended, and may be another's by now
                self._metrics.events.labels("lease_lost").inc()

    def _show(self) -> None:
        self._metrics.leases.set(len(self._held))


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """``items`` in order, :data:`LEASES_AT_ONCE` at a time."""
    for start in range(0, len(items), LEASES_AT_ONCE):
        yield items[start : start + LEASES_AT_ONCE]


def store_and_release(lease: Lease, value: bytes, lifetime_ms: int) -> ScriptCall:
    """The call that stores the value and releases its lease, unless another holder has the lease now.

    Args:
        lease: that this process acquired.
        value: the encoded entry.
        lifetime_ms: of the value in Redis.
    """
    return ScriptCall(STORE_AND_RELEASE, (lease.key, lease_key(lease.key)), (lease.token, value, lifetime_ms))


def release_call(lease: Lease) -> ScriptCall:
    """The call that releases a lease without a value."""
    return ScriptCall(RELEASE, (lease_key(lease.key),), (lease.token,))
