"""Cache entries, the interface of all cache tiers, and the verified look-up.

An entry carries the text it translates, and every hit is compared with it: should two texts ever have one key, the
second is a miss, never the first one's translation. Nothing here makes keys (:mod:`transformer.cache.cache_key`) or
decides what deserves to be kept (:mod:`transformer.pipeline`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from transformer.metrics import CacheTier, TierMetrics, TransformerMetrics


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One finished translation."""

    source_text: str
    """As :func:`protocol.normal_form.normal_text` returns it."""
    text: str
    """The translation, without the outer white space of any caller's text."""
    confidence: float
    """exp of the mean token log-probability, in [0, 1]."""
    tier: CacheTier = field(default=CacheTier.MEMORY, compare=False)
    """The tier that it was read from; a mismatch is counted for that tier."""


class Cache(Protocol):
    """Entries by key. A failure of the storage behind it is a miss, never an error."""

    async def get_many(self, keys: Sequence[bytes]) -> list[CacheEntry | None]:
        """The entry of each key, in order; None where there is none."""
        ...

    async def put_many(self, entries: Mapping[bytes, CacheEntry]) -> None:
        """Store these entries; they may be evicted at any time."""
        ...


async def look_up(
    cache: Cache, wanted: Sequence[tuple[bytes, str]], metrics: TransformerMetrics
) -> list[CacheEntry | None]:
    """Look up all texts in one call; only entries whose source text is exactly the one asked for are returned.

    Args:
        cache: what is asked.
        wanted: (key, normal text) of each.
        metrics: hits, misses and mismatches are counted in it.

    Returns:
        An entry, or None for a miss, for each of ``wanted``.
    """
    if not wanted:
        return []
    entries = await cache.get_many([key for key, _ in wanted])
    found = [
        entry if entry is None or entry.source_text == text else verified(entry, text, metrics.tiers)
        for entry, (_, text) in zip(entries, wanted, strict=True)
    ]
    misses = entries.count(None)
    mismatches = found.count(None) - misses
    hits = len(entries) - misses - mismatches
    for result, count in (("hit", hits), ("miss", misses), ("mismatch", mismatches)):
        if count:  # each kind at once: a counter costs more than a comparison
            metrics.cache_lookups[(result,)].inc(count)
    return found


def verified(entry: CacheEntry, text: str, metrics: TierMetrics) -> CacheEntry | None:
    """``entry`` if its source text is ``text``; otherwise None, counted as a mismatch of its tier.

    Args:
        entry: from any tier.
        text: the normal text asked for.
        metrics: the mismatch is counted in it.
    """
    if entry.source_text == text:
        return entry
    metrics.lookups(entry.tier, "mismatch")
    return None
