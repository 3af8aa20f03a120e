"""The cache that all replicas share. A failing Redis is a cache that has nothing, never an error and never a wait.

Reads are one round trip, made only while the circuit (:mod:`transformer.circuit`) is closed; while it is open a
background task probes, so no request ever waits for a probe. Writes go through a bounded queue to a background task.
The commands are :mod:`transformer.redis_client`'s, the bytes :mod:`transformer.entry_codec`'s; whether a hit is of
the right text, :func:`transformer.cache.look_up` verifies.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformer.cache import CacheEntry
from transformer.circuit import Circuit, CircuitPolicy, State
from transformer.entry_codec import Unreadable, decode_entry, encode_entry
from transformer.metrics import CacheTier, TierMetrics
from transformer.redis_client import RedisStore, StoreError

_log = logging.getLogger("yiwen.cache")

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


def key_prefix(release: str) -> str:
    """What all keys of a release begin with; removing these flushes it."""
    return f"yiwen:{release}:"


def store_key(release: str, key: bytes) -> str:
    """Where the entry of a :func:`transformer.cache_key.cache_key` lies. Hex, so that people can type it."""
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
        metrics: TierMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._release = release
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._chance = chance
        self._circuit = Circuit(policy.circuit)
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._probe_keys: Sequence[str] = ()
        """Of the command that opened the circuit: in a cluster, they lead to the node that failed."""

    @property
    def circuit(self) -> Circuit:
        """The circuit as it is now."""
        return self._circuit

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        """As :meth:`transformer.cache.Cache.get_many`; all None while Redis is not to be used."""
        if not keys:
            return []
        values = await self._read([store_key(self._release, key) for key in keys])
        if values is None:
            self._metrics.lookups(_TIER, "skipped", len(keys))
            return [None] * len(keys)
        return [self._decode(value) for value in values]

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        """Have these written in the background, as far as the queue has room; returns at once."""
        for key, entry in entries.items():
            self._enqueue(store_key(self._release, key), encode_entry(entry, self._release))
        if self._queue and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._write_queue())

    async def close(self) -> None:
        """Write what waits, for at most ``CLOSE_S``, then stop and close all connections."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=CLOSE_S)
        tasks = [task for task in (self._writer, self._prober) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()

    async def _read(self, keys: Sequence[str]) -> Sequence[bytes | None] | None:
        """Values by position; None if Redis was not asked or did not answer."""
        if not self._circuit.allows:
            return None
        started = self._clock()
        try:
            values = await self._store.get_many(keys)
        except StoreError as error:
            self._failed("read", error, keys)
            return None
        finally:
            self._metrics.seconds.labels(_TIER.value, "read").observe(self._clock() - started)
        self._circuit = self._circuit.succeeded()
        self._metrics.bytes.labels(_TIER.value, "read").inc(sum(len(value) for value in values if value))
        return values

    def _decode(self, value: bytes | None) -> CacheEntry | None:
        found = None if value is None else decode_entry(value, self._release)
        if isinstance(found, Unreadable):
            self._metrics.lookups(_TIER, found.value)
            return None
        self._metrics.lookups(_TIER, "miss" if found is None else "hit")
        return found

    def _enqueue(self, key: str, value: bytes) -> None:
        refusal = self._refusal(value)
        if refusal is not None:
            self._metrics.redis_writes.labels(refusal).inc()
            return
        self._queue.append((key, value))
        self._count_queued(len(value))

    def _refusal(self, value: bytes) -> str | None:
        """Why a value is not to be written now."""
        if len(value) > self._policy.max_value_bytes:
            return "too_large"
        if not self._circuit.allows:
            return "skipped"
        return "queue_full" if self._queued_bytes + len(value) > self._policy.queue_bytes else None

    def _count_queued(self, more: int) -> None:
        self._queued_bytes += more
        self._metrics.redis_queue_bytes.set(self._queued_bytes)

    async def _write_queue(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), ENTRIES_PER_WRITE))]
            self._count_queued(-sum(len(value) for _, value in batch))
            if self._circuit.allows:
                await self._write(batch)
            else:
                self._metrics.redis_writes.labels("skipped").inc(len(batch))

    async def _write(self, batch: Sequence[tuple[str, bytes]]) -> None:
        started = self._clock()
        values = [(key, value, lifetime_ms(self._policy, self._chance())) for key, value in batch]
        try:
            answers = await self._store.set_many(values)
        except StoreError as error:
            self._failed("write", error, [key for key, _ in batch])
            self._metrics.redis_writes.labels("failed").inc(len(batch))
            return
        finally:
            self._metrics.seconds.labels(_TIER.value, "write").observe(self._clock() - started)
        # A server that is full or a replica refuses writes but can be read: no reason to open the circuit.
        self._circuit = self._circuit.succeeded()
        for (_, value), fault in zip(batch, answers, strict=True):
            if fault is None:
                self._metrics.bytes.labels(_TIER.value, "write").inc(len(value))
            else:
                self._metrics.redis_errors.labels("write", fault.kind).inc()
            self._metrics.redis_writes.labels("failed" if fault else "stored").inc()

    def _failed(self, operation: str, error: StoreError, keys: Sequence[str]) -> None:
        self._metrics.redis_errors.labels(operation, error.kind).inc()
        was_allowed = self._circuit.allows
        self._circuit = self._circuit.failed(self._clock(), self._chance())
        if was_allowed and not self._circuit.allows:
            _log.warning("going on without the shared cache. %s", error)
            self._probe_keys = keys
            self._prober = asyncio.create_task(self._probe())
        self._show_circuit()

    async def _probe(self) -> None:
        """Try Redis at the circuit's times, until it answers."""
        while not self._circuit.allows:
            await asyncio.sleep(max(0.0, self._circuit.probe_at - self._clock()))
            self._circuit = self._circuit.probe_begins(self._clock())
            if self._circuit.state is not State.HALF_OPEN:
                continue  # woken a clock's tick too early
            self._show_circuit()
            try:
                await self._store.get_many(self._probe_keys)
            except StoreError as error:
                self._metrics.redis_errors.labels("probe", error.kind).inc()
                self._circuit = self._circuit.probe_failed(self._clock(), self._chance())
            else:
                self._circuit = self._circuit.probe_succeeded(self._clock())
                _log.info("the shared cache is back")
            self._show_circuit()

    def _show_circuit(self) -> None:
        self._metrics.redis_circuit.set(self._circuit.state.value)
