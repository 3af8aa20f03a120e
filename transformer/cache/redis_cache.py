"""The cache that all replicas share. A failing Redis is a cache that has nothing, never an error and never a wait.

Reads are one round trip; writes go through a bounded queue to a background task, and give back the leases
(:mod:`transformer.cache.leases`) that were held for what they store. When a failing Redis is left alone
:mod:`transformer.cache.breaker_store` knows, the commands are :mod:`transformer.cache.redis_client`'s, the bytes
:mod:`transformer.cache.entry_codec`'s; whether a hit is of the right text, :func:`transformer.cache.entries.look_up`
verifies.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformer.cache.breaker_store import BreakerStore
from transformer.cache.circuit import Circuit, CircuitPolicy
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import DecodeFailure, decode_entry, encode_entry
from transformer.cache.leases import Lease, Leases, LeaseState, release_call, store_and_release
from transformer.cache.redis_client import RedisStore, StoreError
from transformer.metrics import CacheTier, TransformerMetrics

ENTRIES_PER_WRITE = 256
"""In one pipeline: some 0.1 MB, and about 1 ms of the server's time."""
CLOSE_TIMEOUT_S = 1.0
"""What waits in the queue gets this long to be written when the process ends."""
_TIER = CacheTier.REDIS


@dataclass(frozen=True, slots=True)
class RedisCachePolicy:
    """What is kept, and for how long."""

    ttl_s: float
    ttl_jitter: float
    """Part of ``ttl_s`` by which an entry may live shorter, in [0, 1]."""
    max_value_bytes: int
    queue_bytes: int
    circuit: CircuitPolicy
    lease_s: float = 2.0
    """How long a lease outlives its holder."""


@dataclass(frozen=True, slots=True)
class _PendingWrite:
    """A value to store, a lease to release, or both."""

    key: str
    value: bytes | None
    """None only releases the lease."""
    held: Lease | None = None

    @property
    def size(self) -> int:
        return len(self.value or b"")


def key_prefix(release: str) -> str:
    """What all keys of a release begin with; removing these flushes it."""
    return f"yiwen:{release}:"


def store_key(release: str, key: bytes) -> str:
    """Where the entry of a :func:`transformer.cache.cache_key.cache_key` lies. Hex, so that people can type it."""
    return f"{key_prefix(release)}{key.hex()}"


def lifetime_ms(policy: RedisCachePolicy, jitter: float) -> int:
    """Milliseconds one entry lives, given a number drawn from [0, 1)."""
    return max(1, round(policy.ttl_s * (1.0 - policy.ttl_jitter * jitter) * 1000))


class RedisCache:
    """Entries of one release; belongs to one event loop. Its background tasks start when they are first needed."""

    def __init__(
        self,
        store: RedisStore,
        release: str,
        policy: RedisCachePolicy,
        metrics: TransformerMetrics,
        *,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._store = BreakerStore(store, policy.circuit, metrics.tiers, rng=rng)
        self._leases = Leases(self._store, policy.lease_s, metrics.single_flight)
        self._release = release
        self._policy = policy
        self._metrics = metrics.tiers
        self._rng = rng
        self._queue: deque[_PendingWrite] = deque()
        self._queued_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._acquiring: set[asyncio.Task[list[bytes | LeaseState]]] = set()

    @property
    def circuit(self) -> Circuit:
        """The circuit as it is now."""
        return self._store.circuit

    @property
    def answers(self) -> bool:
        """Whether Redis is in use and answered the last command in time."""
        return self._store.answers

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        """As :meth:`transformer.cache.entries.Cache.get_many`; all None while Redis is not to be used."""
        if not keys:
            return []
        names = self._redis_keys(keys)
        values = await self._store.ask("read", names, lambda store: store.get_many(names))
        if values is None:
            self._metrics.lookups(_TIER, "skipped", len(keys))
            return [None] * len(keys)
        self._count_read(values)
        return [self._decode(value) for value in values]

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        """Queue these for writing in the background, as far as the queue has space."""
        for key, entry in entries.items():
            name = store_key(self._release, key)
            self._enqueue(_PendingWrite(name, encode_entry(entry, self._release), self._leases.detach(name)))
        self._start_writing()

    async def acquire(self, keys: Sequence[bytes]) -> list[CacheEntry | LeaseState]:
        """Acquire each lease, unless another process holds it or the entry exists by now; one round trip.

        If the caller is cancelled, acquired leases are released.
        """
        acquiring = asyncio.create_task(self._leases.acquire(self._redis_keys(keys)))
        self._acquiring.add(acquiring)
        acquiring.add_done_callback(self._acquiring.discard)
        try:
            return self._entries_or_states(await asyncio.shield(acquiring))
        except asyncio.CancelledError:
            acquiring.add_done_callback(lambda done: self._release_acquired(keys, done))
            raise

    async def peek(self, keys: Sequence[bytes]) -> list[CacheEntry | LeaseState]:
        """The entry of each key, or how things stand with it: BUSY, FREE or UNAVAILABLE; one round trip."""
        return self._entries_or_states(await self._leases.peek(self._redis_keys(keys)))

    def release(self, keys: Iterable[bytes]) -> None:
        """Release those of the keys' leases that are still held, in the background."""
        for name in self._redis_keys(keys):
            held = self._leases.detach(name)
            if held is not None:
                self._queue.append(_PendingWrite(name, None, held))
        self._start_writing()

    async def close(self) -> None:
        """Write what waits, for at most ``CLOSE_TIMEOUT_S``, then stop and close all connections."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=CLOSE_TIMEOUT_S)
        tasks = [*self._acquiring, *([self._writer] if self._writer is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leases.close()
        await self._store.close()

    def _redis_keys(self, keys: Iterable[bytes]) -> list[str]:
        return [store_key(self._release, key) for key in keys]

    def _release_acquired(
        self, keys: Sequence[bytes], acquiring: asyncio.Task[list[bytes | LeaseState]]
    ) -> None:
        if not acquiring.cancelled():
            states = zip(keys, acquiring.result(), strict=True)
            self.release([key for key, state in states if state is LeaseState.HELD])

    def _count_read(self, values: Iterable[bytes | LeaseState | None]) -> None:
        size = sum(len(value) for value in values if isinstance(value, bytes))
        self._metrics.bytes[_TIER.value, "read"].inc(size)

    def _decode(self, value: bytes | None) -> CacheEntry | None:
        found = None if value is None else decode_entry(value, self._release)
        if isinstance(found, DecodeFailure):
            self._metrics.lookups(_TIER, found.value)
            return None
        self._metrics.lookups(_TIER, "miss" if found is None else "hit")
        return found

    def _entries_or_states(self, found: Sequence[bytes | LeaseState]) -> list[CacheEntry | LeaseState]:
        """``found`` with its values read; one that is no entry is in the way of a lease, and is soon replaced."""
        self._count_read(found)
        entries = [
            each if isinstance(each, LeaseState) else decode_entry(each, self._release) for each in found
        ]
        return [LeaseState.UNAVAILABLE if isinstance(each, DecodeFailure) else each for each in entries]

    def _enqueue(self, write: _PendingWrite) -> None:
        refusal = self._refusal(write.size)
        if refusal is None:
            self._queue.append(write)
            self._count_queued(write.size)
            return
        self._metrics.redis_writes[refusal,].inc()
        if write.held is not None:
            self._queue.append(_PendingWrite(write.key, None, write.held))

    def _refusal(self, size: int) -> str | None:
        """Why a value of ``size`` bytes is not to be written now."""
        if size > self._policy.max_value_bytes:
            return "too_large"
        if not self.circuit.allows:
            return "skipped"
        return "queue_full" if self._queued_bytes + size > self._policy.queue_bytes else None

    def _count_queued(self, more: int) -> None:
        self._queued_bytes += more
        self._metrics.redis_queue_bytes.set(self._queued_bytes)

    def _start_writing(self) -> None:
        if self._queue and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._write_queue())

    async def _write_queue(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), ENTRIES_PER_WRITE))]
            self._count_queued(-sum(write.size for write in batch))
            await self._write_unleased([write for write in batch if write.held is None])
            await self._write_leased([write for write in batch if write.held is not None])

    async def _write_unleased(self, batch: Sequence[_PendingWrite]) -> None:
        rows = [(write.key, write.value or b"", self._lifetime_ms()) for write in batch]
        await self._send(batch, lambda store: store.set_many(rows))

    async def _write_leased(self, batch: Sequence[_PendingWrite]) -> None:
        calls = [
            release_call(write.held)
            if write.value is None
            else store_and_release(write.held, write.value, self._lifetime_ms())
            for write in batch
            if write.held is not None
        ]
        await self._send(batch, lambda store: store.run_many(calls))

    async def _send(
        self, batch: Sequence[_PendingWrite], command: Callable[[RedisStore], Awaitable[Sequence[Any]]]
    ) -> None:
        """Write a batch and count the result of each value."""
        if not batch:
            return
        missing = "failed" if self.circuit.allows else "skipped"
        answers = await self._store.ask("write", [write.key for write in batch], command)
        for number, write in enumerate(batch):
            answer = None if answers is None else answers[number]
            if isinstance(answer, StoreError):
                self._store.count_fault("write", answer)
            if write.value is not None:
                self._count_written(write.size, missing if answers is None else _result(answer))

    def _count_written(self, size: int, result: str) -> None:
        self._metrics.redis_writes[result,].inc()
        if result == "stored":
            self._metrics.bytes[_TIER.value, "write"].inc(size)

    def _lifetime_ms(self) -> int:
        return lifetime_ms(self._policy, self._rng())


def _result(answer: Any) -> str:  # noqa: ANN401  what a command or a script returns
    """Metric label for the result of one write."""
    if isinstance(answer, StoreError):
        return "failed"
    return "superseded" if answer == 0 else "stored"
