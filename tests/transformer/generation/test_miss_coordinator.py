"""Replicas that miss the same texts at once, over a real Redis: who generates, who waits, and what failures do."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable

import pytest

from protocol.errors import NotReady
from protocol.messages import (
    CacheStatus,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    TranslateResponse,
)
from protocol.prompt_encoder import PromptEncoder
from protocol.prompt_errors import TextTooLong
from protocol.translation_spec import GuardSpec, TranslationSpec
from tests.transformer.predictor_stand_in import RELEASE, answer_with, echo
from tests.transformer.redis_server import RedisServer
from tests.transformer.replicas import Predictor, Replica, create_replica
from transformer.cache.cache_key import cache_key
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import encode_entry
from transformer.cache.redis_cache import store_key
from transformer.errors import PredictorTooLate
from transformer.generation.miss_coordinator import MAX_POLL_S

HIT, MISS, SHARED = CacheStatus.HIT, CacheStatus.MISS, CacheStatus.SHARED
SOON_S = 5.0
"""Far below the lease's time: who waits for that is seen."""
Make = Callable[..., Replica]


@pytest.fixture
async def predictor() -> Predictor:
    return Predictor()


@pytest.fixture
async def replica(
    redis: RedisServer, spec: TranslationSpec, tokenizer: PromptEncoder, predictor: Predictor
) -> AsyncIterator[Make]:
    made: list[Replica] = []

    def _make(spec: TranslationSpec = spec) -> Replica:
        made.append(create_replica(redis.url, spec, tokenizer, predictor))
        return made[-1]

    yield _make
    for each in made:
        await each.close()


def caches(response: TranslateResponse) -> list[CacheStatus]:
    return [each.cache for each in response.translations]


def texts(response: TranslateResponse) -> list[str]:
    return [each.text for each in response.translations]


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


async def leading(
    one: Replica, *texts: str, deadline_ms: int | None = None
) -> asyncio.Task[TranslateResponse]:
    """A request of ``one``'s that the predictor is at, under leases."""
    task = one.ask(*texts, deadline_ms=deadline_ms)
    await until(lambda: one.count("leader") == len(texts))
    return task


async def following(
    other: Replica, *texts: str, deadline_ms: int | None = None
) -> asyncio.Task[TranslateResponse]:
    """A request of ``other``'s that waits for another replica."""
    task = other.ask(*texts, deadline_ms=deadline_ms)
    await until(lambda: other.claims("busy") >= 1)
    return task


async def soon(task: asyncio.Task[TranslateResponse]) -> TranslateResponse:
    return await asyncio.wait_for(task, SOON_S)


async def test_equal_misses_of_two_replicas_are_generated_once(replica: Make, predictor: Predictor) -> None:
    one, other = replica(), replica()
    tasks = [each.ask("red shoes") for _ in range(50) for each in (one, other)]
    await predictor.asked.wait()
    await until(lambda: one.count("follower") == other.count("follower") == 49)
    predictor.go.set()
    statuses = [caches(await soon(task)) for task in tasks]
    assert predictor.sequences == 1
    assert sorted(statuses) == [[MISS], *[[SHARED]] * 99]
    assert caches(await soon(other.ask("red shoes"))) == [HIT]


async def test_what_both_want_is_waited_for_and_the_rest_generated_meanwhile(
    replica: Make, predictor: Predictor
) -> None:
    one, other = replica(), replica()
    first = await leading(one, "red shoes", "blue shoes")
    second = await following(other, "green shoes", "blue shoes")
    await until(lambda: predictor.sequences == 3)
    predictor.go.set()
    assert caches(await soon(first)) == [MISS, MISS]
    answer = await soon(second)
    assert texts(answer) == ["green shoes", "blue shoes"]
    assert caches(answer) == [MISS, SHARED]
    assert other.count("remote") == 1
    assert predictor.sequences == 3


async def test_a_follower_looks_once_for_all_its_texts_and_not_all_the_time(
    replica: Make, predictor: Predictor, redis: RedisServer
) -> None:
    one, other = replica(), replica()
    wanted = [f"shoes number {number}" for number in range(10)]
    first = await leading(one, *wanted)
    redis.command("CONFIG", "RESETSTAT")
    second = await following(other, *wanted)
    await asyncio.sleep(1.0)
    calls = redis.command("INFO", "commandstats").decode()
    looks = int(calls.split("cmdstat_mget:calls=")[1].split(",")[0])
    assert 2 <= looks <= 2 + 8 + 1.0 / (MAX_POLL_S / 2)
    predictor.go.set()
    await soon(first)
    assert caches(await soon(second)) == [SHARED] * 10


async def test_a_leader_that_fails_is_taken_over_from(replica: Make, predictor: Predictor) -> None:
    one, other = replica(), replica()
    first = await leading(one, "red shoes")
    second = await following(other, "red shoes")
    answers = iter([NotReady("gone"), None])

    def fail_once(request: GenerateRequest) -> GenerateResponse:
        if (error := next(answers)) is not None:
            raise error
        return echo(request)

    predictor.answer = fail_once
    predictor.go.set()
    with pytest.raises(NotReady, match="gone"):
        await first
    assert caches(await soon(second)) == [MISS]
    assert other.count("taken_over") == 1


async def test_a_leader_whose_callers_left_is_taken_over_from(replica: Make, predictor: Predictor) -> None:
    one, other = replica(), replica()
    first = await leading(one, "red shoes")
    second = await following(other, "red shoes")
    first.cancel()
    await until(lambda: other.count("taken_over") == 1)
    predictor.go.set()
    assert caches(await soon(second)) == [MISS]
    assert (predictor.sequences, predictor.cancelled) == (2, 1)


async def test_a_flagged_answer_is_shared_in_its_process_and_releases_its_lease(
    replica: Make, predictor: Predictor, spec: TranslationSpec
) -> None:
    strict = dataclasses.replace(spec, guards=GuardSpec(retries=0))
    one, other = replica(strict), replica(strict)
    predictor.answer = lambda r: answer_with(r, lambda _: Generation((), -0.5, FinishReason.STOP))
    tasks = [await leading(one, "red shoes"), one.ask("red shoes")]
    second = await following(other, "red shoes")
    predictor.go.set()
    (first,), (joined,) = [(await soon(task)).translations for task in tasks]
    assert (first.cache, joined.cache) == (MISS, SHARED)
    assert first.flags == joined.flags == ("empty",)
    (answer,) = (await soon(second)).translations
    assert (answer.cache, answer.flags) == (MISS, ("empty",))
    assert predictor.sequences == 2


async def test_a_redis_that_goes_away_ends_the_wait(
    replica: Make, predictor: Predictor, redis: RedisServer
) -> None:
    one, other = replica(), replica()
    first = await leading(one, "red shoes")
    second = await following(other, "red shoes")
    redis.stop()
    await until(lambda: predictor.sequences == 2)
    predictor.go.set()
    assert caches(await soon(first)) == caches(await soon(second)) == [MISS]


async def test_a_followers_deadline_is_its_own(replica: Make, predictor: Predictor) -> None:
    one, other = replica(), replica()
    first = await leading(one, "red shoes")
    second = await following(other, "red shoes", deadline_ms=200)
    third = other.ask("red shoes")
    with pytest.raises(PredictorTooLate, match=r"within 0\.2 s"):
        await soon(second)
    predictor.go.set()
    assert caches(await soon(first)) == [MISS]
    assert caches(await soon(third)) == [SHARED]
    assert predictor.sequences == 1


async def test_a_text_that_is_too_long_is_no_fault_of_its_neighbours(
    replica: Make, predictor: Predictor
) -> None:
    """The request that came first fails for one of its texts; who waited for the other one gets it all the same."""
    one = replica()
    predictor.go.set()
    first = one.ask("red shoes", "é" * 150)
    second = one.ask("hello", "hello world", "red shoes")
    with pytest.raises(TextTooLong, match="text 1"):
        await first
    answer = await soon(second)
    assert texts(answer) == ["hello", "hello world", "red shoes"]
    assert caches(answer) == [MISS] * 3


async def test_values_of_no_use_are_not_waited_for(
    replica: Make, predictor: Predictor, redis: RedisServer
) -> None:
    """Garbage, and the entry of another text under the same key."""
    wrong = CacheEntry("another text", "别的", 0.5)
    values = {"red shoes": b"garbage", "blue shoes": encode_entry(wrong, RELEASE)}
    for text, value in values.items():
        key = cache_key(release=RELEASE, source="en", target="zh", options={}, text=text)
        redis.command("SET", store_key(RELEASE, key), value)
    predictor.go.set()
    one, other = replica(), replica()
    answer = await soon(one.ask(*values))
    assert texts(answer) == list(values)
    assert caches(answer) == [MISS, MISS]
    await until(lambda: redis.command("GET", store_key(RELEASE, key)).find(b"blue shoes") > 0)
    assert caches(await soon(other.ask(*values))) == [HIT, HIT]


async def test_a_lease_that_is_lost_under_load_costs_no_answer(
    replica: Make, predictor: Predictor, redis: RedisServer
) -> None:
    one, other = replica(), replica()
    tasks = [each.ask("red shoes") for _ in range(5) for each in (one, other)]
    await predictor.asked.wait()
    redis.command("FLUSHALL")
    await until(lambda: predictor.sequences == 2)
    predictor.go.set()
    statuses = [caches(await soon(task)) for task in tasks]
    assert sorted(statuses) == [[MISS]] * 2 + [[SHARED]] * 8


async def test_closing_gives_leases_back(replica: Make, predictor: Predictor) -> None:
    one, other = replica(), replica()
    first = await leading(one, "red shoes")
    second = await following(other, "red shoes")
    await one.pipeline.close()
    with pytest.raises(NotReady, match="stopping"):
        await first
    await until(lambda: other.count("taken_over") == 1)
    predictor.go.set()
    assert caches(await soon(second)) == [MISS]
