"""The cache in this process' memory, within a budget of bytes."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformer.cache.entries import Cache, CacheEntry
from transformer.metrics import TransformerMetrics

ENTRY_OVERHEAD_BYTES = 288
"""What an entry costs beside its strings and key: the objects around them, the map's slot and its links.

Measured with tracemalloc on CPython 3.11 for 10^5 entries: 282 bytes each.
"""


@dataclass(slots=True)
class CacheCounts:
    """Counters of one cache."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    """Entries that left to make room."""


class NullCache:
    """Keeps nothing: the null object for ``YIWEN_CACHE_BYTES=0``."""

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        return [None] * len(keys)

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        return


class LruCache:
    """In-process cache within a budget of bytes; the entry unused for longest leaves first. O(1) per entry.

    It belongs to one event loop: no method awaits anything in the middle, so none can be interrupted half-way.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.counts = CacheCounts()
        self.size_bytes = 0
        self._entries: OrderedDict[bytes, tuple[CacheEntry, int]] = OrderedDict()
        """Entry and the bytes it was counted with: a string's size may change after it was put in."""

    def __len__(self) -> int:
        return len(self._entries)

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        return [self._get(key) for key in keys]

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        for key, entry in entries.items():
            self._put(key, entry)

    def _get(self, key: bytes) -> CacheEntry | None:
        found = self._entries.get(key)
        if found is None:
            self.counts.misses += 1
            return None
        self._entries.move_to_end(key)
        self.counts.hits += 1
        return found[0]

    def _put(self, key: bytes, entry: CacheEntry) -> None:
        self._remove(key)
        size = entry_bytes(key, entry)
        if size > self.budget_bytes:
            return  # it would push everything else out and still not fit
        self._entries[key] = (entry, size)
        self.size_bytes += size
        while self.size_bytes > self.budget_bytes:
            self._remove(next(iter(self._entries)))
            self.counts.evictions += 1

    def _remove(self, key: bytes) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found[1]


def entry_bytes(key: bytes, entry: CacheEntry) -> int:
    """Memory that one entry takes: its strings as Python stores them, and what surrounds them."""
    return (
        sys.getsizeof(key) + _text_bytes(entry.source_text) + _text_bytes(entry.text) + ENTRY_OVERHEAD_BYTES
    )


def _text_bytes(text: str) -> int:
    # Writing a string that is not ASCII as JSON leaves its UTF-8 form inside the string object; count it beforehand.
    return sys.getsizeof(text) + (0 if text.isascii() else len(text.encode()) + 1)


def create_cache(budget_bytes: int, metrics: TransformerMetrics) -> Cache:
    """An LRU cache of ``budget_bytes``, watched by ``metrics``; for 0, one that keeps nothing."""
    if budget_bytes == 0:
        return NullCache()
    cache = LruCache(budget_bytes)
    metrics.watch_cache(size_bytes=lambda: cache.size_bytes, entries=lambda: len(cache))
    return cache
