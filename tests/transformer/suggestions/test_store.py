"""Suggestions and corrections in a directory and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.errors import NotReady
from tests.transformer.redis_server import RedisServer
from transformer.cache.redis_client import RedisStore, StoreSettings
from transformer.redis_url import parse_redis_url
from transformer.suggestions import store as stores
from transformer.suggestions.store import DirectorySuggestions, RedisSuggestions, SuggestionStore
from transformer.suggestions.suggestion import Correction, Suggestion, corrections_from_json


def suggestion(number: int, **fields: str) -> Suggestion:
    return Suggestion(
        f"text {number}", f"文 {number}", "en", "zh", created_at=f"2026-01-01T{number:06}", **fields
    )


@pytest.fixture
async def over_redis(redis: RedisServer) -> AsyncIterator[SuggestionStore]:
    client = RedisStore(StoreSettings(parse_redis_url(redis.url), None, None, 2.0, 2.0, 8))
    yield RedisSuggestions(client)
    await client.close()


@pytest.fixture(params=["directory", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SuggestionStore:
    if request.param == "directory":
        return DirectorySuggestions(tmp_path / "not" / "there yet")
    found: SuggestionStore = request.getfixturevalue("over_redis")
    return found


async def test_what_is_suggested_waits_in_order_and_once(store: SuggestionStore) -> None:
    assert await store.pending() == []
    for number in (1, 2, 1):
        await store.add(suggestion(number, caller="k1"))
    assert await store.pending() == [suggestion(1, caller="k1"), suggestion(2, caller="k1")]
    await store.remove(suggestion(1))
    await store.remove(suggestion(1))
    assert [each.text for each in await store.pending()] == ["text 2"]


async def test_the_oldest_make_room_for_the_newest(
    store: SuggestionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_SUGGESTIONS", 3)
    for number in range(5):
        await store.add(suggestion(number))
    assert [each.text for each in await store.pending()] == ["text 2", "text 3", "text 4"]


async def test_a_correction_replaces_that_of_its_text(store: SuggestionStore) -> None:
    assert await store.corrections() == b""
    first, other = Correction("a", "甲", "en", "zh"), Correction("b", "乙", "en", "zh")
    await store.add_corrections([first, other])
    better = Correction("a", "啊", "en", "zh")
    await store.add_corrections([better])
    assert corrections_from_json(await store.corrections()) == [better, other]


async def test_corrections_of_two_people_at_once_are_both_kept(over_redis: SuggestionStore) -> None:
    found = [Correction(f"text {number}", "文", "en", "zh") for number in range(6)]
    await asyncio.gather(*(over_redis.add_corrections([each]) for each in found))
    kept = corrections_from_json(await over_redis.corrections())
    assert sorted(kept, key=lambda each: each.text) == found


async def test_a_store_that_is_gone_is_said(over_redis: SuggestionStore, redis: RedisServer) -> None:
    redis.stop()
    with pytest.raises(NotReady, match="suggestions cannot be reached"):
        await over_redis.add(suggestion(1))
    with pytest.raises(NotReady, match="suggestions cannot be reached"):
        await over_redis.corrections()


async def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotReady, match="suggestions cannot be reached"):
        await DirectorySuggestions(tmp_path / "file" / "below").add(suggestion(1))
