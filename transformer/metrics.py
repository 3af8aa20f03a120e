"""What the transformer measures, for Prometheus: names, units and bounded labels. Never a text.

The names are a contract with dashboards and alerts. Languages as labels are the release's own tags (and ``und``),
so their number is bounded by the release, whatever callers send.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from protocol.messages import CacheStatus

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
"""From one cache miss's overhead to the longest deadline; Prometheus' defaults start too high and end too low."""


class CacheTier(str, Enum):
    """Where a cached translation lies."""

    MEMORY = "memory"
    REDIS = "redis"


class TierMetrics:
    """What each tier of the cache did."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lookups = Counter(
            "yiwen_transformer_cache_tier_lookups",
            "Cache look-ups by tier and result: hit, miss, mismatch (a hit, but of another text), skipped (Redis was "
            "not asked or did not answer), or why a value could not be read (garbage, older_schema, newer_schema, "
            "other_release).",
            ("tier", "result"),
            registry=registry,
        )
        self.seconds = Histogram(
            "yiwen_transformer_cache_tier_seconds",
            "Seconds of one look-up (read) or one write-back (write) of a tier, failures included.",
            ("tier", "operation"),
            registry=registry,
            buckets=(0.00001, 0.0001, *_SECONDS[:10]),
        )
        self.bytes = Counter(
            "yiwen_transformer_cache_tier_bytes",
            "Bytes of values read from and written to Redis.",
            ("tier", "operation"),
            registry=registry,
        )
        self.redis_writes = Counter(
            "yiwen_transformer_redis_writes",
            "Translations to be stored in Redis by result: stored, too_large, queue_full, skipped (the circuit was "
            "open), failed.",
            ("result",),
            registry=registry,
        )
        self.redis_errors = Counter(
            "yiwen_transformer_redis_errors",
            "Commands that Redis did not answer, by operation (read, write, probe) and kind (auth, connection, full, "
            "loading, readonly, response, timeout, other).",
            ("operation", "kind"),
            registry=registry,
        )
        self.redis_circuit = Gauge(
            "yiwen_transformer_redis_circuit",
            "The circuit breaker of Redis: 0 closed (Redis is used), 1 half-open (a probe is under way), 2 open.",
            registry=registry,
        )
        self.redis_queue_bytes = Gauge(
            "yiwen_transformer_redis_queue_bytes",
            "Bytes of values that wait to be written to Redis.",
            registry=registry,
        )

    def lookups(self, tier: CacheTier, result: str, count: int = 1) -> None:
        """Count look-ups of one tier with the same result."""
        self._lookups.labels(tier.value, result).inc(count)


class TransformerMetrics:
    """All series of one transformer process."""

    def __init__(self, release: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._segments = Counter(
            "yiwen_transformer_segments",
            "Texts answered, by language pair and by where the answer came from (hit, miss, shared, bypass).",
            ("source", "target", "cache"),
            registry=registry,
        )
        self._characters = Counter(
            "yiwen_transformer_characters",
            "Characters (Unicode code points) of the texts answered, by language pair.",
            ("source", "target"),
            registry=registry,
        )
        self.predictor_seconds = Histogram(
            "yiwen_transformer_predictor_seconds",
            "Seconds from sending one request to the predictor until its answer or failure, retries included.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.tokenize_seconds = Histogram(
            "yiwen_transformer_tokenize_seconds",
            "Seconds to turn the texts of one request that missed the cache into token ids.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.cache_lookups = Counter(
            "yiwen_transformer_cache_lookups",
            "Cache look-ups of distinct texts by result: hit, miss, or mismatch (an entry of another text; "
            "served as a miss).",
            ("result",),
            registry=registry,
        )
        self.tiers = TierMetrics(registry)
        self.guard_failures = Counter(
            "yiwen_transformer_guard_failures",
            "Generated answers that a guard objected to, by kind: empty, ratio, repetition, script, leak, length, "
            "placeholder. A second attempt is counted like the first.",
            ("kind",),
            registry=registry,
        )
        self._cache_bytes = Gauge(
            "yiwen_transformer_cache_bytes", "Bytes that the in-process cache holds.", registry=registry
        )
        self._cache_entries = Gauge(
            "yiwen_transformer_cache_entries",
            "Translations that the in-process cache holds.",
            registry=registry,
        )
        Gauge(
            "yiwen_transformer_release_info",
            "Always 1; its label names the release that this process turns text into ids for.",
            ("release",),
            registry=registry,
        ).labels(release).set(1)

    def answered(self, *, source: str, target: str, cache: CacheStatus, characters: int) -> None:
        """Count one text that was answered."""
        self._segments.labels(source, target, cache.value).inc()
        self._characters.labels(source, target).inc(characters)

    def watch_cache(self, *, size_bytes: Callable[[], float], entries: Callable[[], float]) -> None:
        """Read the cache's size whenever metrics are scraped."""
        self._cache_bytes.set_function(size_bytes)
        self._cache_entries.set_function(entries)
