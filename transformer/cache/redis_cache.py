"""The cache that all replicas share. A failing Redis is a cache that has nothing, never an error and never a wait.

Reads are one round trip; writes go through a bounded queue to a background task, and give back the leases
(:mod:`transformer.cache.leases`) that were held for what they store. When a failing Redis is left alone
:mod:`transformer.cache.guarded_store` knows, the commands are :mod:`transformer.cache.redis_client`'s, the bytes
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

from transformer.cache.circuit import Circuit, CircuitPolicy
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import Unreadable, decode_entry, encode_entry
from transformer.cache.guarded_store import GuardedStore
from transformer.cache.leases import Claim, Held, Leases, finish, release
from transformer.cache.redis_client import RedisStore, StoreError
from transformer.metrics import CacheTier, TransformerMetrics

ENTRIES_PER_WRITE = 256
"""In one pipeline: some 0.1 MB, and about 1 ms of the server's time."""
CLOSE_S = 1.0
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
class _Write:
    """What is to be stored, given back, or both."""

    key: str
    value: bytes | None
    """None: the lease is given back without one."""
    held: Held | None = None

    @property
    def size(self) -> int:
        return len(self.value or b"")


def key_prefix(release: str) -> str:
    """What all keys of a release begin with; removing these flushes it."""
    return f"yiwen:{release}:"


def store_key(release: str, key: bytes) -> str:
    """Where the entry of a :func:`transformer.cache.cache_key.cache_key` lies. Hex, so that people can type it."""
    return f"{key_prefix(release)}{key.hex()}"


def lifetime_ms(policy: RedisCachePolicy, chance: float) -> int:
    """Milliseconds one entry lives, given a number drawn from [0, 1)."""
    return max(1, round(policy.ttl_s * (1.0 - policy.ttl_jitter * chance) * 1000))


class RedisCache:
    """Entries of one release; belongs to one event loop. Its background tasks start when they are first needed."""

    def __init__(
        self,
        store: RedisStore,
        release: str,
        policy: RedisCachePolicy,
        metrics: TransformerMetrics,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = GuardedStore(store, policy.circuit, metrics.tiers, chance=chance)
        self._leases = Leases(self._store, policy.lease_s, metrics.single_flight)
        self._release = release
        self._policy = policy
        self._metrics = metrics.tiers
        self._chance = chance
        self._queue: deque[_Write] = deque()
        self._queued_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._claiming: set[asyncio.Task[list[bytes | Claim]]] = set()

    @property
    def circuit(self) -> Circuit:
        """The circuit as it is now."""
        return self._store.circuit

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        """As :meth:`transformer.cache.entries.Cache.get_many`; all None while Redis is not to be used."""
        if not keys:
            return []
        names = self._names(keys)
        values = await self._store.ask("read", names, lambda store: store.get_many(names))
        if values is None:
            self._metrics.lookups(_TIER, "skipped", len(keys))
            return [None] * len(keys)
        self._count_read(values)
        return [self._decode(value) for value in values]

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        """Have these written in the background, as far as the queue has room; returns at once."""
        for key, entry in entries.items():
            name = store_key(self._release, key)
            self._enqueue(_Write(name, encode_entry(entry, self._release), self._leases.take(name)))
        self._start_writing()

    async def claim(self, keys: Sequence[bytes]) -> list[CacheEntry | Claim]:
        """Take each key's lease, unless another process has it or the entry has come meanwhile; one round trip.

        A caller that is cancelled leaves no lease behind.
        """
        claiming = asyncio.create_task(self._leases.claim(self._names(keys)))
        self._claiming.add(claiming)
        claiming.add_done_callback(self._claiming.discard)
        try:
            return self._entries_or_claims(await asyncio.shield(claiming))
        except asyncio.CancelledError:
            claiming.add_done_callback(lambda done: self._undo(keys, done))
            raise

    async def look(self, keys: Sequence[bytes]) -> list[CacheEntry | Claim]:
        """The entry of each key, or how things stand with it: BUSY, FREE or NONE; one round trip."""
        return self._entries_or_claims(await self._leases.look(self._names(keys)))

    def release(self, keys: Iterable[bytes]) -> None:
        """Give back those of the keys' leases that are still held, in the background; returns at once."""
        for name in self._names(keys):
            held = self._leases.take(name)
            if held is not None:
                self._queue.append(_Write(name, None, held))
        self._start_writing()

    async def close(self) -> None:
        """Write what waits, for at most ``CLOSE_S``, then stop and close all connections."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=CLOSE_S)
        tasks = [*self._claiming, *([self._writer] if self._writer is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leases.close()
        await self._store.close()

    def _names(self, keys: Iterable[bytes]) -> list[str]:
        return [store_key(self._release, key) for key in keys]

    def _undo(self, keys: Sequence[bytes], claiming: asyncio.Task[list[bytes | Claim]]) -> None:
        if not claiming.cancelled():
            claims = zip(keys, claiming.result(), strict=True)
            self.release([key for key, claim in claims if claim is Claim.HELD])

    def _count_read(self, values: Iterable[bytes | Claim | None]) -> None:
        size = sum(len(value) for value in values if isinstance(value, bytes))
        self._metrics.bytes.labels(_TIER.value, "read").inc(size)

    def _decode(self, value: bytes | None) -> CacheEntry | None:
        found = None if value is None else decode_entry(value, self._release)
        if isinstance(found, Unreadable):
            self._metrics.lookups(_TIER, found.value)
            return None
        self._metrics.lookups(_TIER, "miss" if found is None else "hit")
        return found

    def _entries_or_claims(self, found: Sequence[bytes | Claim]) -> list[CacheEntry | Claim]:
        """``found`` with its values read; one that is no entry is in the way of a lease, and is soon replaced."""
        self._count_read(found)
        entries = [each if isinstance(each, Claim) else decode_entry(each, self._release) for each in found]
        return [Claim.NONE if isinstance(each, Unreadable) else each for each in entries]

    def _enqueue(self, write: _Write) -> None:
        refusal = self._refusal(write.size)
        if refusal is None:
            self._queue.append(write)
            self._count_queued(write.size)
            return
        self._metrics.redis_writes.labels(refusal).inc()
        if write.held is not None:
            self._queue.append(_Write(write.key, None, write.held))

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
            await self._store_plain([write for write in batch if write.held is None])
            await self._give_back([write for write in batch if write.held is not None])

    async def _store_plain(self, batch: Sequence[_Write]) -> None:
        rows = [(write.key, write.value or b"", self._lifetime_ms()) for write in batch]
        await self._send(batch, lambda store: store.set_many(rows))

    async def _give_back(self, batch: Sequence[_Write]) -> None:
        calls = [
            release(write.held)
            if write.value is None
            else finish(write.held, write.value, self._lifetime_ms())
            for write in batch
            if write.held is not None
        ]
        await self._send(batch, lambda store: store.run_many(calls))

    async def _send(
        self, batch: Sequence[_Write], command: Callable[[RedisStore], Awaitable[Sequence[Any]]]
    ) -> None:
        """Have a batch written, and count what became of each value."""
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
        self._metrics.redis_writes.labels(result).inc()
        if result == "stored":
            self._metrics.bytes.labels(_TIER.value, "write").inc(size)

    def _lifetime_ms(self) -> int:
        return lifetime_ms(self._policy, self._chance())


def _result(answer: Any) -> str:  # noqa: ANN401  what a command or a script returns
    """What became of a value, as the metric calls it."""
    if isinstance(answer, StoreError):
        return "failed"
    return "superseded" if answer == 0 else "stored"
