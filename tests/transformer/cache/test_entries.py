from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from transformer.cache.entries import Cache, CacheEntry, look_up
from transformer.cache.memory import LruCache, NullCache, create_cache
from transformer.metrics import TransformerMetrics


def entry(text: str, translation: str = "译文") -> CacheEntry:
    return CacheEntry(text, translation, 0.5)


@pytest.mark.parametrize("budget", [0, 1_000_000])
async def test_look_up_answers_in_order_with_every_cache(budget: int, metrics: TransformerMetrics) -> None:
    cache: Cache = create_cache(budget, metrics)
    assert isinstance(cache, NullCache if budget == 0 else LruCache)
    await cache.put_many({b"1": entry("one"), b"2": entry("two")})
    found = await look_up(cache, [(b"2", "two"), (b"3", "three"), (b"1", "one")], metrics)
    assert found == ([None, None, None] if budget == 0 else [entry("two"), None, entry("one")])


async def test_an_entry_of_another_text_under_the_same_key_is_a_miss_and_counted(
    metrics: TransformerMetrics, registry: CollectorRegistry
) -> None:
    cache = LruCache(1_000_000)
    await cache.put_many({b"k": entry("enable")})
    assert await look_up(cache, [(b"k", "disable")], metrics) == [None]
    name = "yiwen_transformer_cache_lookups_total"
    assert registry.get_sample_value(name, {"result": "mismatch"}) == 1
    assert registry.get_sample_value(name, {"result": "hit"}) == 0


async def test_each_text_of_a_look_up_is_counted_for_what_it_was(
    metrics: TransformerMetrics, registry: CollectorRegistry
) -> None:
    cache = LruCache(1_000_000)
    await cache.put_many({b"1": entry("one"), b"2": entry("two"), b"3": entry("three")})

    wanted = [
        (b"1", "one"),
        (b"4", "four"),
        (b"2", "another"),
        (b"3", "three"),
        (b"5", "five"),
        (b"1", "one"),
    ]
    found = await look_up(cache, wanted, metrics)

    assert found == [entry("one"), None, None, entry("three"), None, entry("one")]
    lookups, by_tier = "yiwen_transformer_cache_lookups_total", "yiwen_transformer_cache_tier_lookups_total"
    assert registry.get_sample_value(lookups, {"result": "hit"}) == 3
    assert registry.get_sample_value(lookups, {"result": "miss"}) == 2
    assert registry.get_sample_value(lookups, {"result": "mismatch"}) == 1
    assert registry.get_sample_value(by_tier, {"tier": "memory", "result": "mismatch"}) == 1
