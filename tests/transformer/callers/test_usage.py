"""Quotas and rates: of one process by a clock, and over two clients of a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.inferenceservices.redis_of_ours import redis_of_ours
from tests.transformer.clock import StoppedClock
from tests.transformer.redis_server import RedisServer
from transformer.cache.redis_client import RedisStore, StoreSettings
from transformer.callers.key_file import ApiKey
from transformer.callers.usage import MemoryUsage, RedisUsage, UsageCounter, month_of
from transformer.redis_url import parse_redis_url


def key(name: str = "a", **limits: Any) -> ApiKey:
    return ApiKey(id=name, sha256="0" * 64, **limits)


@pytest.fixture
async def connect(redis: RedisServer) -> AsyncIterator[Callable[[], RedisStore]]:
    stores = []

    def _connect() -> RedisStore:
        stores.append(RedisStore(StoreSettings(parse_redis_url(redis.url), None, None, 2.0, 2.0, 8)))
        return stores[-1]

    yield _connect
    for store in stores:
        await store.close()


@pytest.fixture(params=["memory", "redis"])
def usage(request: pytest.FixtureRequest) -> UsageCounter:
    if request.param == "memory":
        return MemoryUsage()
    connect: Callable[[], RedisStore] = request.getfixturevalue("connect")
    return RedisUsage(connect())


async def test_a_quota_is_never_exceeded(usage: UsageCounter) -> None:
    limited = key(characters_per_month=100)
    assert (await usage.charge(limited, 60)).used == 60
    refused = await usage.charge(limited, 41)
    assert (refused.quota_exceeded, refused.used) == (True, 60)
    assert not (await usage.charge(limited, 40)).quota_exceeded
    assert (await usage.charge(limited, 0, requests=0)).used == 100


async def test_what_was_not_answered_is_given_back(usage: UsageCounter) -> None:
    limited = key(characters_per_month=100)
    await usage.charge(limited, 100)
    await usage.refund(limited, 30)
    assert (await usage.charge(limited, 0, requests=0)).used == 70
    await usage.refund(limited, 1_000)
    assert (await usage.charge(limited, 0, requests=0)).used == 0


async def test_without_limits_characters_are_counted(usage: UsageCounter) -> None:
    await usage.charge(key(), 5)
    assert (await usage.charge(key(), 7)).used == 12
    assert (await usage.charge(key("other"), 0, requests=0)).used == 0


async def test_a_rate_allows_a_second_of_requests_at_once(usage: UsageCounter) -> None:
    limited = key(requests_per_second=5.0)
    charges = [await usage.charge(limited, 1) for _ in range(6)]
    assert [charge.retry_after_s is None for charge in charges] == [True] * 5 + [False]
    assert 0 < (charges[-1].retry_after_s or 0) <= 0.2
    assert charges[-1].used == 5


async def test_a_slow_rate_allows_one_request_at_a_time(usage: UsageCounter) -> None:
    limited = key(requests_per_second=0.1)
    assert (await usage.charge(limited, 1)).retry_after_s is None
    assert 9 < ((await usage.charge(limited, 1)).retry_after_s or 0) <= 10


async def test_a_rate_recovers_and_a_month_begins_anew_by_the_clock() -> None:
    clock = StoppedClock()
    usage = MemoryUsage(clock)
    limited = key(requests_per_second=2.0, characters_per_month=10)
    await usage.charge(limited, 5)
    await usage.charge(limited, 5)
    clock.now += 0.5
    assert (await usage.charge(limited, 0)).retry_after_s is None
    assert (await usage.charge(limited, 1)).quota_exceeded
    clock.now += 31 * 86_400
    assert (await usage.charge(limited, 10)).used == 10


def test_months_are_those_of_utc() -> None:
    assert (month_of(1_798_761_599), month_of(1_798_761_600)) == ("2026-12", "2027-01")


async def test_two_replicas_over_one_redis_exceed_no_quota(connect: Callable[[], RedisStore]) -> None:
    replicas = [RedisUsage(connect()) for _ in range(2)]
    keys = [key(f"k{number}", characters_per_month=1_000 * (number + 1)) for number in range(5)]
    allowed = dict.fromkeys(range(5), 0)

    async def caller(number: int, replica: RedisUsage) -> None:
        for size in range(200):
            if not (await replica.charge(keys[number], 1 + size % 37)).quota_exceeded:
                allowed[number] += 1 + size % 37

    await asyncio.gather(*(caller(number, replica) for number in range(5) for replica in replicas))
    for number, each in enumerate(keys):
        used = (await replicas[0].charge(each, 0, requests=0)).used
        assert used == allowed[number] <= 1_000 * (number + 1)
        assert used > 1_000 * (number + 1) - 37


async def test_the_user_of_the_component_may_count(tmp_path: Path) -> None:
    with redis_of_ours(tmp_path) as started:
        stores = [started.store() for _ in range(2)]
        limited = key(characters_per_month=100, requests_per_second=10.0)
        usage = RedisUsage(stores[0])
        await usage.charge(limited, 60)
        await usage.refund(limited, 10)
        assert (await RedisUsage(stores[1]).charge(limited, 0, requests=0)).used == 50
        assert await stores[0].sizes([f"yiwen:caller:{{a}}:{month_of(time.time())}"]) == [2]
        for store in stores:
            await store.close()


async def test_while_redis_is_gone_a_process_goes_on_from_what_it_was_told(
    connect: Callable[[], RedisStore], redis: RedisServer
) -> None:
    usage = RedisUsage(connect())
    limited = key(characters_per_month=100)
    await usage.charge(limited, 60)
    redis.stop()
    assert (await usage.charge(limited, 41)).quota_exceeded
    assert (await usage.charge(limited, 40)).used == 100
    await usage.refund(limited, 5)
    redis.start()
    # A new Redis knows nothing of the 60; what was counted without it is told to it once.
    looked = [(await usage.charge(limited, 0, requests=0)).used for _ in range(2)]
    assert looked == [35, 35]


async def test_many_requests_without_redis_exceed_no_quota_of_their_process(
    connect: Callable[[], RedisStore], redis: RedisServer
) -> None:
    usage = RedisUsage(connect())
    limited = key(characters_per_month=1_000)
    await usage.charge(limited, 1)
    redis.stop()
    charges = await asyncio.gather(*(usage.charge(limited, 37) for _ in range(100)))
    assert sum(not charge.quota_exceeded for charge in charges) == 999 // 37


async def test_while_redis_is_gone_a_process_counts_for_itself(
    connect: Callable[[], RedisStore], redis: RedisServer
) -> None:
    usage = RedisUsage(connect())
    limited = key(characters_per_month=10)
    redis.stop()
    assert not (await usage.charge(limited, 8)).quota_exceeded
    assert (await usage.charge(limited, 8)).quota_exceeded
