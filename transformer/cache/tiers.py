"""The tiered cache: process memory first, then Redis if configured.

What Redis knows is kept in memory as well, so the second request for it needs no network. Each tier is its own
module (:mod:`transformer.cache.memory`, :mod:`transformer.cache.redis_cache`); here they are put together from the
settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from serving.settings import SettingsError
from transformer.cache.circuit import CircuitPolicy
from transformer.cache.entries import Cache, CacheEntry, verified
from transformer.cache.leases import LeaseState
from transformer.cache.memory import create_cache
from transformer.cache.redis_cache import RedisCache, RedisCachePolicy
from transformer.cache.redis_client import RedisStore, StoreSettings
from transformer.config import TransformerConfig
from transformer.metrics import CacheTier, TierMetrics, TransformerMetrics
from transformer.redis_url import parse_redis_url


class TieredCache:
    """Memory first, then Redis for what is missing; both are written to. Has a lifetime."""

    def __init__(self, memory: Cache, shared: RedisCache | None, metrics: TierMetrics) -> None:
        self._memory = memory
        self._shared = shared
        self._metrics = metrics

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        """The entry of each key, in order; at most one round trip, and none if memory has them all."""
        started = time.perf_counter()
        found = await self._memory.get_many(keys)
        self._metrics.seconds[CacheTier.MEMORY.value, "read"].observe(time.perf_counter() - started)
        missing = [index for index, entry in enumerate(found) if entry is None]
        self._count(hits=len(found) - len(missing), misses=len(missing))
        if self._shared is None or not missing:
            return found
        fetched = await self._shared.get_many([keys[index] for index in missing])
        new = {keys[index]: entry for index, entry in zip(missing, fetched, strict=True) if entry is not None}
        if new:
            await self._memory.put_many(new)
        return [entry or new.get(key) for key, entry in zip(keys, found, strict=True)]

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        """Keep these in memory, and have them written to Redis in the background."""
        await self._memory.put_many(entries)
        if self._shared is not None:
            await self._shared.put_many(entries)

    async def acquire(self, wanted: Sequence[tuple[bytes, str]]) -> list[CacheEntry | LeaseState]:
        """As :meth:`transformer.cache.leases.SharedLeases.acquire`; without Redis, UNAVAILABLE at once.

        What came to memory while Redis was being asked is taken from there.
        """
        if self._shared is None:
            return [LeaseState.UNAVAILABLE] * len(wanted)
        keys = [key for key, _ in wanted]
        found = dict(zip(keys, await self._memory.get_many(keys), strict=True))
        absent = [key for key, entry in found.items() if entry is None]
        states = dict(zip(absent, await self._shared.acquire(absent), strict=True)) if absent else {}
        return await self._verified(wanted, [found[key] or states[key] for key in keys])

    async def peek(self, wanted: Sequence[tuple[bytes, str]]) -> list[CacheEntry | LeaseState]:
        """As :meth:`transformer.cache.leases.SharedLeases.peek`."""
        if self._shared is None:
            return [LeaseState.UNAVAILABLE] * len(wanted)
        return await self._verified(wanted, await self._shared.peek([key for key, _ in wanted]))

    def release(self, keys: Iterable[bytes]) -> None:
        """As :meth:`transformer.cache.leases.SharedLeases.release`."""
        if self._shared is not None:
            self._shared.release(keys)

    async def close(self) -> None:
        """Write what still waits for Redis, and close its connections."""
        if self._shared is not None:
            await self._shared.close()

    async def _verified(
        self, wanted: Sequence[tuple[bytes, str]], found: Sequence[CacheEntry | LeaseState]
    ) -> list[CacheEntry | LeaseState]:
        """``found``, kept in memory; an entry of another text is in the way of a lease and none of ours."""
        answers = [
            each
            if isinstance(each, LeaseState)
            else verified(each, text, self._metrics) or LeaseState.UNAVAILABLE
            for (_, text), each in zip(wanted, found, strict=True)
        ]
        rows = zip(wanted, answers, strict=True)
        await self._memory.put_many({key: each for (key, _), each in rows if isinstance(each, CacheEntry)})
        return answers

    def _count(self, *, hits: int, misses: int) -> None:
        for result, count in (("hit", hits), ("miss", misses)):
            if count:
                self._metrics.lookups(CacheTier.MEMORY, result, count)


def create_tiers(config: TransformerConfig, release: str, metrics: TransformerMetrics) -> TieredCache:
    """The tiers that the settings ask for; nothing is connected yet.

    Args:
        config: the transformer's settings.
        release: id of the release that all entries belong to.
        metrics: this process'.

    Raises:
        SettingsError: a file that the settings name cannot be read.
    """
    memory = create_cache(config.cache_bytes, metrics)
    shared = None
    if config.redis_url is not None:
        store = RedisStore(store_settings(config))
        shared = RedisCache(store, release, cache_policy(config), metrics)
    return TieredCache(memory, shared, metrics.tiers)


def store_settings(config: TransformerConfig) -> StoreSettings:
    """How the settings say Redis is reached.

    Raises:
        SettingsError: there is no YIWEN_REDIS_URL, or a file cannot be read.
    """
    if config.redis_url is None:
        raise SettingsError("YIWEN_REDIS_URL is not set: there is no shared cache")
    files = {
        "YIWEN_REDIS_PASSWORD_FILE": config.redis_password_file,
        "YIWEN_REDIS_CA_FILE": config.redis_ca_file,
    }
    for name, path in files.items():
        try:
            if path is not None:
                path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"{name}: {path} cannot be read: {reason}") from None
    return StoreSettings(
        address=parse_redis_url(config.redis_url),
        password_file=config.redis_password_file,
        ca_file=config.redis_ca_file,
        connect_timeout_s=config.redis_connect_timeout_s,
        command_timeout_s=config.redis_command_timeout_s,
        max_connections=config.redis_max_connections,
    )


def cache_policy(config: TransformerConfig) -> RedisCachePolicy:
    """What the settings say is kept in Redis."""
    return RedisCachePolicy(
        ttl_s=config.redis_ttl_s,
        ttl_jitter=config.redis_ttl_jitter,
        max_value_bytes=config.redis_max_value_bytes,
        queue_bytes=config.redis_queue_bytes,
        circuit=CircuitPolicy(
            config.redis_failures,
            config.redis_probe_s,
            config.redis_probe_max_s,
            window_s=config.redis_window_s,
            slow_s=config.redis_slow_s,
        ),
        lease_s=config.lease_s,
    )
