"""Translations that were made before: the interface of all caches, and the one in this process' memory.

An entry carries the text it translates, and :func:`look_up` compares it on every hit: should two texts ever have one
key, the second is a miss, never the first one's translation. Nothing here makes keys
(:mod:`transformer.cache.cache_key`) or decides what deserves to be kept (:mod:`transformer.pipeline`).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from transformer.metrics import CacheTier, TransformerMetrics

ENTRY_OVERHEAD_BYTES = 288
"""What an entry costs beside its strings and key: the objects around them, the map's slot and its links.

Measured with tracemalloc on CPython 3.11 for 10^5 entries: 282 bytes each.
"""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One finished translation."""

    source_text: str
    """As :func:`transformer.cache.cache_key.normal_text` returns it."""
    text: str
    """The translation, without the outer white space of any caller's text."""
    confidence: float
    """exp of the mean token log-probability, in [0, 1]."""
    tier: CacheTier = field(default=CacheTier.MEMORY, compare=False)
    """Where this process got it from: a wrong text is counted there."""


@dataclass(slots=True)
class CacheCounts:
    """Running totals of one cache."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    """Entries that left to make room."""


class Cache(Protocol):
    """Entries by key. A failure of the storage behind it is a miss, never an error."""

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        """The entry of each key, in order; None where there is none."""
        ...

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        """Keep these, as long as there is room."""
        ...


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


async def look_up(
    cache: Cache, wanted: Sequence[tuple[bytes, str]], metrics: TransformerMetrics
) -> list[CacheEntry | None]:
    """One look-up for all of ``wanted``, (key, normal text) each; only entries of exactly that text are returned."""
    if not wanted:
        return []
    entries = await cache.get_many([key for key, _ in wanted])
    found = [
        entry if entry is not None and entry.source_text == text else None
        for entry, (_, text) in zip(entries, wanted, strict=True)
    ]
    _count(entries, found, metrics)
    return found


def _count(
    entries: Sequence[CacheEntry | None], verified: Sequence[CacheEntry | None], metrics: TransformerMetrics
) -> None:
    """Count a look-up's results, each kind at once: a counter costs more than a comparison."""
    misses = entries.count(None)
    mismatches = verified.count(None) - misses
    hits = len(entries) - misses - mismatches
    for result, count in (("hit", hits), ("miss", misses), ("mismatch", mismatches)):
        if count:
            metrics.cache_lookups.labels(result).inc(count)
    if mismatches:
        for entry, same in zip(entries, verified, strict=True):
            if entry is not None and same is None:
                metrics.tiers.lookups(entry.tier, "mismatch")
