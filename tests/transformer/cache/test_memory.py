from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from transformer.cache.entries import CacheEntry
from transformer.cache.memory import LruCache, create_cache, entry_bytes
from transformer.metrics import TransformerMetrics


def entry(text: str, translation: str = "译文") -> CacheEntry:
    return CacheEntry(text, translation, 0.5)


OPERATIONS = st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 600)), max_size=60)


@given(st.integers(1, 3000), OPERATIONS)
async def test_the_budget_holds_and_the_sum_is_exact_after_any_operations(
    budget: int, operations: list[tuple[bool, int, int]]
) -> None:
    cache = LruCache(budget)
    kept: dict[bytes, CacheEntry] = {}
    for is_put, number, size in operations:
        key = bytes([number])
        if is_put:
            kept[key] = entry("é" * size)
            await cache.put_many({key: kept[key]})
        else:
            (found,) = await cache.get_many([key])
            assert found in (None, kept.get(key))
        present = [k for k in kept if cache._entries.get(k)]  # recounted, not trusted
        assert cache.size_bytes == sum(entry_bytes(k, cache._entries[k][0]) for k in present) <= budget
        assert len(cache) == len(present)


async def test_the_entry_unused_for_longest_leaves_first() -> None:
    size = entry_bytes(b"a", entry("text a"))
    cache = LruCache(3 * size)
    await cache.put_many({key: entry("text a") for key in (b"a", b"b", b"c")})
    await cache.get_many([b"a"])
    await cache.put_many({b"d": entry("text a")})
    found = await cache.get_many([b"a", b"b", b"c", b"d"])
    assert [each is not None for each in found] == [True, False, True, True]
    assert (cache.counts.hits, cache.counts.misses, cache.counts.evictions) == (4, 1, 1)


async def test_an_entry_larger_than_the_budget_pushes_nothing_out() -> None:
    cache = LruCache(entry_bytes(b"a", entry("small")))
    await cache.put_many({b"a": entry("small"), b"b": entry("x" * 10_000)})
    assert await cache.get_many([b"a", b"b"]) == [entry("small"), None]


async def test_a_size_that_changes_after_the_put_does_not_move_the_sum() -> None:
    cache = LruCache(10_000)
    text = "文" * 100
    await cache.put_many({b"a": entry(text)})
    text.encode("utf-8")
    await cache.put_many({b"a": entry("short")})
    assert cache.size_bytes == entry_bytes(b"a", entry("short"))


async def test_the_counted_bytes_are_no_less_than_what_python_allocates() -> None:
    cache = LruCache(1 << 40)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5_000):
        await cache.put_many(
            {number.to_bytes(16, "big"): entry(f"a title number {number}", f"标题 {number}")}
        )
    allocated = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert allocated <= cache.size_bytes <= 1.5 * allocated


async def test_scrapes_see_the_size_of_the_cache(
    metrics: TransformerMetrics, registry: CollectorRegistry
) -> None:
    cache = create_cache(1_000_000, metrics)
    await cache.put_many({b"k": entry("text")})
    assert registry.get_sample_value("yiwen_transformer_cache_entries") == 1
    assert registry.get_sample_value("yiwen_transformer_cache_bytes") == entry_bytes(b"k", entry("text"))
