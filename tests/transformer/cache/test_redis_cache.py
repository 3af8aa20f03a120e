"""The shared cache over a real Redis: what it keeps, what it takes for a miss, and how it fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.transformer.predictor_stand_in import RELEASE
from tests.transformer.redis_server import RedisServer
from transformer.cache.circuit import CircuitPolicy, CircuitState
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import encode_entry
from transformer.cache.redis_cache import RedisCache, RedisCachePolicy, key_prefix, lifetime_ms, store_key
from transformer.cache.redis_client import RedisStore, StoreSettings
from transformer.metrics import TransformerMetrics
from transformer.redis_url import parse_redis_url

POLICY = RedisCachePolicy(60.0, 0.1, 4_096, 1 << 20, CircuitPolicy(failures=3, probe_s=0.2, probe_max_s=0.4))
Make = Callable[..., RedisCache]


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entry(number: int) -> CacheEntry:
    return CacheEntry(f"text {number}", f"译文 {number}", 0.5)


@pytest.fixture
async def make_shared(metrics: TransformerMetrics) -> AsyncIterator[Make]:
    caches: list[RedisCache] = []

    def _make(
        redis: RedisServer, policy: RedisCachePolicy = POLICY, password: Path | None = None
    ) -> RedisCache:
        store = RedisStore(StoreSettings(parse_redis_url(redis.url), password, None, 0.2, 0.1, 8))
        caches.append(RedisCache(store, RELEASE, policy, metrics))
        return caches[-1]

    yield _make
    for cache in caches:
        await cache.close()


@pytest.fixture
def count(registry: CollectorRegistry) -> Callable[..., float]:
    def _count(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"yiwen_transformer_{name}_total", labels) or 0.0

    return _count


Count = Callable[..., float]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_what_one_replica_stored_another_finds(
    redis: RedisServer, make_shared: Make, count: Count
) -> None:
    one, other = make_shared(redis), make_shared(redis)
    await one.put_many({key(number): entry(number) for number in range(600)})
    await until(lambda: count("redis_writes", result="stored") == 600)
    found = await other.get_many([key(3), key(1_000), key(599), key(3)])
    assert found == [entry(3), None, entry(599), entry(3)]
    assert count("cache_tier_lookups", tier="redis", result="hit") == 3
    assert count("cache_tier_lookups", tier="redis", result="miss") == 1
    value_bytes = len(encode_entry(entry(3), RELEASE))
    assert count("cache_tier_bytes", tier="redis", operation="read") == 2 * value_bytes + len(
        encode_entry(entry(599), RELEASE)
    )


async def test_one_request_is_one_mget_and_one_write_back_is_one_round_trip(
    redis: RedisServer, make_shared: Make, count: Count
) -> None:
    cache = make_shared(redis)
    await cache.put_many({key(number): entry(number) for number in range(64)})
    await until(lambda: count("redis_writes", result="stored") == 64)
    await cache.get_many([key(number) for number in range(64)])
    calls = redis.command("INFO", "commandstats").decode()
    assert "cmdstat_mget:calls=1," in calls
    assert "cmdstat_set:calls=64," in calls
    assert "cmdstat_get:" not in calls


async def test_keys_begin_with_the_release_and_expire_at_different_times(
    redis: RedisServer, make_shared: Make, count: Count
) -> None:
    await make_shared(redis).put_many({key(number): entry(number) for number in range(50)})
    await until(lambda: count("redis_writes", result="stored") == 50)
    assert store_key(RELEASE, key(1)).startswith(key_prefix(RELEASE))
    answers = [redis.command("PTTL", store_key(RELEASE, key(number))) for number in range(50)]
    lifetimes = [int(answer[1:]) for answer in answers]
    assert 53_000 < min(lifetimes) < max(lifetimes) <= 60_000
    assert len(set(lifetimes)) > 25


def test_a_lifetime_is_never_none() -> None:
    policy = RedisCachePolicy(1.0, 1.0, 1, 1, POLICY.circuit)
    assert lifetime_ms(policy, 0.0) == 1_000
    assert lifetime_ms(policy, 1.0) == 1


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (b"", "garbage"),
        (b"\xff" * 1_000, "garbage"),
        (encode_entry(entry(1), RELEASE)[:-1], "garbage"),
        (b"Y\x00" + encode_entry(entry(1), RELEASE)[2:], "older_schema"),
        (b"Y\x03" + encode_entry(entry(1), RELEASE)[2:], "newer_schema"),
        (encode_entry(entry(1), "fedcba9876543210"), "other_release"),
    ],
)
async def test_values_that_are_no_entries_are_misses_counted_and_replaced(
    redis: RedisServer, make_shared: Make, count: Count, value: bytes, result: str
) -> None:
    cache = make_shared(redis)
    redis.command("SET", store_key(RELEASE, key(1)), value)
    assert await cache.get_many([key(1)]) == [None]
    assert count("cache_tier_lookups", tier="redis", result=result) == 1
    await cache.put_many({key(1): entry(1)})
    await until(lambda: count("redis_writes", result="stored") == 1)
    assert await cache.get_many([key(1)]) == [entry(1)]


async def test_a_key_of_another_type_is_a_miss(redis: RedisServer, make_shared: Make) -> None:
    cache = make_shared(redis)
    redis.command("LPUSH", store_key(RELEASE, key(1)), "x")
    await cache.put_many({key(2): entry(2)})
    await asyncio.sleep(0.1)
    assert await cache.get_many([key(1), key(2)]) == [None, entry(2)]


async def test_large_values_and_a_full_queue_are_refused_and_counted(
    redis: RedisServer, make_shared: Make, count: Count
) -> None:
    size = len(encode_entry(entry(1), RELEASE))
    policy = RedisCachePolicy(60.0, 0.0, 4_096, 3 * size, POLICY.circuit)
    cache = make_shared(redis, policy)
    await cache.put_many({key(1): CacheEntry("x" * 5_000, "y", 0.5)})
    await cache.put_many({key(number): entry(number) for number in range(5)})
    await until(lambda: count("redis_writes", result="stored") == 3)
    assert count("redis_writes", result="too_large") == 1
    assert count("redis_writes", result="queue_full") == 2


async def test_closing_writes_what_waits(redis: RedisServer, make_shared: Make) -> None:
    cache = make_shared(redis)
    await cache.put_many({key(number): entry(number) for number in range(1_000)})
    await cache.close()
    assert redis.command("DBSIZE") == b":1000\r\n"


async def test_closing_does_not_wait_for_a_redis_that_hangs(redis: RedisServer, make_shared: Make) -> None:
    cache = make_shared(redis)
    await cache.get_many([key(1)])
    redis.pause()
    await cache.put_many({key(number): entry(number) for number in range(1_000)})
    started = time.monotonic()
    await cache.close()
    assert time.monotonic() - started < 3.0


@pytest.mark.parametrize("fault", ["stop", "pause"])
async def test_a_failing_redis_is_not_used_until_it_is_back(
    redis: RedisServer, make_shared: Make, count: Count, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yiwen.cache")
    cache = make_shared(redis)
    await cache.put_many({key(1): entry(1)})
    await until(lambda: count("redis_writes", result="stored") == 1)
    redis.stop() if fault == "stop" else redis.pause()
    for _ in range(POLICY.circuit.failures):
        assert await cache.get_many([key(1)]) == [None]
    assert cache.circuit.state is not CircuitState.CLOSED
    before = sum(count("redis_errors", operation="read", kind=kind) for kind in KINDS)
    assert [await cache.get_many([key(1)]) for _ in range(100)] == [[None]] * 100
    failed = sum(count("redis_errors", operation="read", kind=kind) for kind in KINDS)
    assert failed == before > 0, "requests go without Redis"
    await cache.put_many({key(2): entry(2)})
    assert count("redis_writes", result="skipped") == 1
    await until(lambda: sum(count("redis_errors", operation="probe", kind=k) for k in KINDS) >= 2)
    redis.start() if fault == "stop" else redis.resume()
    await until(lambda: cache.circuit.state is CircuitState.CLOSED)
    await cache.put_many({key(2): entry(2)})
    await until(lambda: count("redis_writes", result="stored") == 2)
    assert await cache.get_many([key(2)]) == [entry(2)]
    assert [record.getMessage().split(".")[0] for record in caplog.records] == [
        "going on without the shared cache",
        "the shared cache is back",
    ]


@asynccontextmanager
async def delayed(redis: RedisServer, delay_s: Callable[[], float]) -> AsyncIterator[RedisServer]:
    """The same server behind a proxy that holds each answer back."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(65_536):
                await asyncio.sleep(delay_s() if answers else 0.0)
                writer.write(data)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", redis.port)
        await asyncio.gather(
            copy(reader, server_writer, answers=False), copy(server_reader, writer, answers=True)
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield RedisServer(redis.directory, port=server.sockets[0].getsockname()[1])
    server.close()


async def test_a_redis_with_a_slow_median_is_not_used_until_it_is_fast(
    redis: RedisServer, make_shared: Make
) -> None:
    delay_s = 0.0
    async with delayed(redis, lambda: delay_s) as slow:
        cache = make_shared(slow)
        for _ in range(3):
            await cache.get_many([key(1)])
        delay_s = 0.07
        for _ in range(20):
            await cache.get_many([key(1)])
        assert cache.circuit.state is not CircuitState.CLOSED
        delay_s = 0.0
        await until(lambda: cache.circuit.state is CircuitState.CLOSED)


async def test_one_pause_of_a_redis_that_is_fast_does_not_open_the_circuit(
    redis: RedisServer, make_shared: Make
) -> None:
    delay_s = 0.0
    async with delayed(redis, lambda: delay_s) as pausing:
        cache = make_shared(pausing)
        for _ in range(100):
            await cache.get_many([key(1)])
        delay_s = 0.07
        await asyncio.gather(*(cache.get_many([key(1)]) for _ in range(8)))
        assert cache.circuit.allows
        delay_s = 0.0
        assert await cache.get_many([key(1)]) == [None]


KINDS = ("connection", "timeout", "loading")


async def test_a_full_redis_is_still_read(redis: RedisServer, make_shared: Make, count: Count) -> None:
    cache = make_shared(redis)
    await cache.put_many({key(1): entry(1)})
    await until(lambda: count("redis_writes", result="stored") == 1)
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1")
    await cache.put_many({key(number): entry(number) for number in range(10, 20)})
    await until(lambda: count("redis_writes", result="failed") == 10)
    assert count("redis_errors", operation="write", kind="full") == 10
    assert cache.circuit.state is CircuitState.CLOSED
    assert await cache.get_many([key(1), key(10)]) == [entry(1), None]
    redis.command("CONFIG", "SET", "maxmemory", "0")
    await cache.put_many({key(10): entry(10)})
    await until(lambda: count("redis_writes", result="stored") == 2)


async def test_a_wrong_password_is_a_miss_and_never_in_a_log(
    redis: RedisServer,
    make_shared: Make,
    count: Count,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    redis.command("CONFIG", "SET", "requirepass", "richtig")
    (tmp_path / "password").write_text("falsch", encoding="utf-8")
    cache = make_shared(redis, password=tmp_path / "password")
    for _ in range(5):
        assert await cache.get_many([key(1)]) == [None]
    assert count("redis_errors", operation="read", kind="auth") == 3
    assert "YIWEN_REDIS_PASSWORD_FILE" in caplog.text
    assert "falsch" not in caplog.text


async def test_a_request_that_is_cancelled_while_redis_hangs_counts_as_no_failure(
    redis: RedisServer, make_shared: Make, count: Count
) -> None:
    cache = make_shared(redis)
    await cache.get_many([key(1)])
    redis.pause()
    waiting = asyncio.create_task(cache.get_many([key(1)]))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    redis.resume()
    assert cache.circuit.state is CircuitState.CLOSED
    assert cache.answers
    assert await cache.get_many([key(1)]) == [None]
    assert count("redis_errors", operation="read", kind="timeout") == 0
