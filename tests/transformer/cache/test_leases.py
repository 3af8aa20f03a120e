"""Leases in a real Redis: acquired, renewed, released, lost, refused. Waiting is in test_miss_coordinator.py."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.transformer.predictor_stand_in import RELEASE
from tests.transformer.redis_server import RedisServer
from transformer.cache.breaker_store import BreakerStore
from transformer.cache.circuit import CircuitPolicy
from transformer.cache.entries import CacheEntry
from transformer.cache.leases import LEASES_AT_ONCE, REFUSED_S, Leases, LeaseState, lease_key
from transformer.cache.redis_cache import RedisCache, RedisCachePolicy, store_key
from transformer.cache.redis_client import RedisStore, ScriptCall, StoreSettings
from transformer.metrics import TransformerMetrics
from transformer.redis_url import parse_redis_url

CIRCUIT = CircuitPolicy(failures=3, probe_s=0.2, probe_max_s=0.4)
POLICY = RedisCachePolicy(60.0, 0.1, 4_096, 1 << 20, CIRCUIT, lease_s=5.0)
KEY = b"k" * 16
NAME = store_key(RELEASE, KEY)
HELD, BUSY, FREE, UNAVAILABLE = LeaseState.HELD, LeaseState.BUSY, LeaseState.FREE, LeaseState.UNAVAILABLE
Make = Callable[..., RedisCache]


def entry(text: str) -> CacheEntry:
    return CacheEntry("shoes", text, 0.5)


def store_of(redis: RedisServer, user: str = "", password: Path | None = None) -> RedisStore:
    address = parse_redis_url(redis.url.replace("//", f"//{user}"))
    return RedisStore(StoreSettings(address, password, None, 0.2, 0.5, 8))


@pytest.fixture
async def replica(redis: RedisServer, metrics: TransformerMetrics) -> AsyncIterator[Make]:
    """Makes the shared cache of one more replica."""
    made: list[RedisCache] = []

    def _make(store: RedisStore | None = None, policy: RedisCachePolicy = POLICY) -> RedisCache:
        made.append(RedisCache(store or store_of(redis), RELEASE, policy, metrics))
        return made[-1]

    yield _make
    for each in made:
        await each.close()


def failed_commands(registry: CollectorRegistry) -> float:
    """How many commands Redis did not answer, but for those that look whether it is back."""
    families = [each for each in registry.collect() if each.name == "yiwen_transformer_redis_errors"]
    samples = [sample for family in families for sample in family.samples if sample.name.endswith("_total")]
    return sum(sample.value for sample in samples if sample.labels["operation"] != "probe")


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def until_peek(cache: RedisCache, wanted: LeaseState | CacheEntry) -> None:
    end = time.monotonic() + 10.0
    while (found := await cache.peek([KEY])) != [wanted]:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.005)


async def test_one_replica_has_the_lease_until_the_value_is_there(
    replica: Make, registry: CollectorRegistry, redis: RedisServer
) -> None:
    one, other = replica(), replica()
    assert await one.peek([KEY]) == [FREE]
    assert await one.acquire([KEY]) == [HELD]
    assert registry.get_sample_value("yiwen_transformer_leases_held") == 1
    assert await other.acquire([KEY]) == [BUSY]
    assert await other.peek([KEY]) == [BUSY]
    await one.put_many({KEY: entry("鞋")})
    await until_peek(other, entry("鞋"))
    assert redis.command("EXISTS", lease_key(NAME)) == b":0\r\n"
    assert registry.get_sample_value("yiwen_transformer_leases_held") == 0
    assert await other.acquire([KEY]) == [entry("鞋")]


async def test_a_lease_without_a_value_is_free_at_once(replica: Make) -> None:
    one, other = replica(), replica()
    assert await one.acquire([KEY]) == [HELD]
    one.release([KEY])
    await until_peek(other, FREE)
    assert await other.acquire([KEY]) == [HELD]


async def test_claims_of_many_keys_are_one_round_trip_and_so_is_giving_them_back(
    replica: Make, redis: RedisServer
) -> None:
    cache = replica(policy=dataclasses.replace(POLICY, lease_s=600.0))  # no lease is renewed meanwhile
    keys = [bytes([number]) * 16 for number in range(10)]
    await cache.acquire(keys)  # the server learns the script
    cache.release(keys)
    names = [lease_key(store_key(RELEASE, key)) for key in keys]
    await until(lambda: all(redis.command("EXISTS", name) == b":0\r\n" for name in names))
    redis.command("CONFIG", "RESETSTAT")
    first, second = _reads(redis), _reads(redis)
    assert await cache.acquire(keys) == [HELD] * 10
    assert _reads(redis) - second == second - first + 1, "beside what a question costs"
    calls = redis.command("INFO", "commandstats").decode()
    assert "cmdstat_evalsha:calls=10," in calls
    assert "cmdstat_eval:" not in calls


def _reads(redis: RedisServer) -> int:
    """Reads from clients that the server has made."""
    lines = redis.command("INFO", "stats").decode().splitlines()
    return int(next(line for line in lines if line.startswith("total_reads_processed")).split(":")[1])


async def test_a_lease_is_renewed_while_its_holder_lives(replica: Make) -> None:
    policy = dataclasses.replace(POLICY, lease_s=1.0)
    one, other = replica(policy=policy), replica(policy=policy)
    assert await one.acquire([KEY]) == [HELD]
    end = time.monotonic() + 2.2
    while time.monotonic() < end:
        assert await other.acquire([KEY]) == [BUSY]
        await asyncio.sleep(0.1)


async def test_the_lease_of_a_holder_that_is_gone_ends_by_itself(replica: Make, redis: RedisServer) -> None:
    policy = dataclasses.replace(POLICY, lease_s=0.3)
    gone = store_of(redis)
    holder = RedisCache(gone, RELEASE, policy, TransformerMetrics(CollectorRegistry()))
    assert await holder.acquire([KEY]) == [HELD]
    await holder.close()
    other = replica(policy=policy)
    started = time.monotonic()
    assert await other.acquire([KEY]) == [BUSY]
    await until_peek(other, FREE)
    assert time.monotonic() - started < 1.5
    assert await other.acquire([KEY]) == [HELD]


async def test_a_holder_that_lost_its_lease_writes_nothing_over_the_newer_ones(
    replica: Make, redis: RedisServer, registry: CollectorRegistry
) -> None:
    def superseded() -> float:
        labels = {"result": "superseded"}
        return registry.get_sample_value("yiwen_transformer_redis_writes_total", labels) or 0.0

    old, new = replica(), replica()
    assert await old.acquire([KEY]) == [HELD]
    redis.command("DEL", lease_key(NAME))  # as if its time had passed
    assert await new.acquire([KEY]) == [HELD]
    await old.put_many({KEY: entry("旧")})
    await until(lambda: superseded() == 1)
    assert await new.peek([KEY]) == [BUSY], "the newer lease stays"
    old.release([KEY])
    await new.put_many({KEY: entry("新")})
    await until_peek(old, entry("新"))

    late = replica()
    redis.command("DEL", NAME)
    assert await late.acquire([KEY]) == [HELD]
    redis.command("DEL", lease_key(NAME))
    assert await new.acquire([KEY]) == [HELD]
    await new.put_many({KEY: entry("更新")})
    await until_peek(old, entry("更新"))
    await late.put_many({KEY: entry("太晚")})
    await until(lambda: superseded() == 2)
    assert await old.peek([KEY]) == [entry("更新")]


async def test_a_holder_learns_that_its_lease_is_lost(
    replica: Make, redis: RedisServer, registry: CollectorRegistry
) -> None:
    cache = replica(policy=dataclasses.replace(POLICY, lease_s=0.15))
    await cache.acquire([KEY])
    redis.command("SET", lease_key(NAME), "another")
    await until(lambda: registry.get_sample_value("yiwen_transformer_leases_held") == 0)
    labels = {"event": "lease_lost"}
    assert registry.get_sample_value("yiwen_transformer_single_flight_events_total", labels) == 1
    assert redis.command("GET", lease_key(NAME)) == b"$7\r\nanother\r\n"


async def test_a_later_lease_has_a_later_token(replica: Make, redis: RedisServer) -> None:
    moments = []
    for cache in [replica(), replica()] * 5:
        assert await cache.acquire([KEY]) == [HELD]
        moments.append(int(redis.command("GET", lease_key(NAME)).split(b"\r\n")[1].split(b"-")[0]))
        cache.release([KEY])
        await until_peek(cache, FREE)
    assert moments == sorted(set(moments))


async def test_a_caller_that_is_cancelled_leaves_no_lease(replica: Make, redis: RedisServer) -> None:
    cache = replica()
    await cache.peek([KEY])
    redis.pause()
    acquiring = asyncio.create_task(cache.acquire([KEY]))
    await asyncio.sleep(0.05)
    acquiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acquiring
    redis.resume()
    learnt = replica()
    await until_peek(learnt, FREE)
    await asyncio.sleep(0.05)
    assert await learnt.peek([KEY]) == [FREE]


@pytest.mark.parametrize("refused", ["-eval -evalsha", "-time", "resetkeys ~yiwen:*"])
async def test_a_redis_that_refuses_leases_is_logged_once_and_used_without_leases(
    replica: Make, redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    (tmp_path / "password").write_text("geheim", encoding="utf-8")
    rights = ("~yiwen:*", "~{yiwen:*", "+@read", "+@write", "+@connection", "+eval", "+evalsha", "+time")
    redis.command("ACL", "SETUSER", "shop", "on", ">geheim", *rights, *refused.split())
    cache = replica(store_of(redis, "shop@", tmp_path / "password"))
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert await cache.acquire([KEY, b"j" * 16]) == [UNAVAILABLE, UNAVAILABLE]
    (record,) = caplog.records
    assert "+eval +evalsha +time ~{yiwen:*" in record.getMessage()
    await cache.put_many({KEY: entry("鞋")})
    end = time.monotonic() + 10.0
    while await cache.get_many([KEY]) != [entry("鞋")]:
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_rights_that_were_given_later_are_used(
    redis: RedisServer, tmp_path: Path, metrics: TransformerMetrics
) -> None:
    (tmp_path / "password").write_text("geheim", encoding="utf-8")
    rights = ("~yiwen:*", "~{yiwen:*", "+@read", "+@write", "+@connection")
    redis.command("ACL", "SETUSER", "shop", "on", ">geheim", *rights)
    now = 100.0
    store = BreakerStore(store_of(redis, "shop@", tmp_path / "password"), CIRCUIT, metrics.tiers)
    leases = Leases(store, 5.0, metrics.single_flight, clock=lambda: now)
    assert await leases.acquire([NAME]) == [UNAVAILABLE]
    redis.command("ACL", "SETUSER", "shop", "+eval", "+evalsha", "+time")
    assert await leases.acquire([NAME]) == [UNAVAILABLE]
    now += REFUSED_S
    assert await leases.acquire([NAME]) == [HELD]
    await leases.close()
    await store.close()


async def test_a_full_redis_has_no_leases_and_gives_back_those_that_are_held(
    replica: Make, redis: RedisServer
) -> None:
    one, other = replica(), replica()
    assert await one.acquire([KEY]) == [HELD]
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1")
    assert await other.acquire([KEY, b"j" * 16]) == [BUSY, UNAVAILABLE]
    await one.put_many({KEY: entry("鞋")})
    await until_peek(other, FREE)
    assert other.circuit.allows


async def test_without_redis_there_are_no_leases_and_no_wait(
    replica: Make, redis: RedisServer, registry: CollectorRegistry
) -> None:
    cache = replica()
    assert await cache.acquire([KEY]) == [HELD]
    redis.stop()
    for _ in range(CIRCUIT.failures):
        assert await cache.peek([KEY]) == [UNAVAILABLE]
    before = failed_commands(registry)
    assert before > 0
    assert await cache.acquire([KEY]) == [UNAVAILABLE]
    assert await cache.peek([KEY]) == [UNAVAILABLE]
    cache.release([KEY])
    assert failed_commands(registry) == before


async def test_a_server_that_restarted_learns_the_scripts_anew(replica: Make, redis: RedisServer) -> None:
    one, other = replica(), replica()
    assert await one.acquire([KEY]) == [HELD]
    redis.command("SCRIPT", "FLUSH")
    assert await other.acquire([KEY, b"j" * 16]) == [BUSY, HELD]
    redis.command("SCRIPT", "FLUSH")
    await one.put_many({KEY: entry("鞋")})
    await until_peek(other, entry("鞋"))


async def test_a_value_that_is_too_large_gives_its_lease_back(replica: Make) -> None:
    one, other = replica(), replica()
    assert await one.acquire([KEY]) == [HELD]
    await one.put_many({KEY: entry("鞋" * POLICY.max_value_bytes)})
    await until_peek(other, FREE)


async def test_what_lies_there_but_is_no_entry_is_in_the_way_of_a_lease(
    replica: Make, redis: RedisServer
) -> None:
    cache = replica()
    redis.command("SET", NAME, b"garbage")
    assert await cache.acquire([KEY]) == [UNAVAILABLE]
    assert await cache.peek([KEY]) == [UNAVAILABLE]
    await cache.put_many({KEY: entry("鞋")})
    await until_peek(cache, entry("鞋"))


class CountingStore(RedisStore):
    """Counts the scripts of each pipeline."""

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self.pipelines: list[int] = []

    async def run_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        self.pipelines.append(len(calls))
        return await super().run_many(calls)


async def test_a_thousand_leases_are_taken_and_renewed_a_few_at_a_time(
    replica: Make, redis: RedisServer
) -> None:
    store = CountingStore(StoreSettings(parse_redis_url(redis.url), None, None, 0.2, 0.5, 8))
    cache = replica(store, dataclasses.replace(POLICY, lease_s=0.6))
    keys = [number.to_bytes(16, "big") for number in range(1_000)]
    assert await cache.acquire(keys) == [HELD] * 1_000
    await until(lambda: sum(store.pipelines) >= 4_000)  # renewed three times
    assert max(store.pipelines) <= LEASES_AT_ONCE
    assert await replica().peek(keys) == [BUSY] * 1_000
