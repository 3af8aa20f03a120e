"""What the transformer measures, for Prometheus: names, units and bounded labels. Never a text.

The names are a contract with dashboards and alerts. Languages as labels are the release's own tags (and ``und``),
so their number is bounded by the release, whatever callers send.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from protocol.messages import CacheStatus

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
"""From one cache miss's overhead to the longest deadline; Prometheus' defaults start too high and end too low."""


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
        self.guard_failures = Counter(
            "yiwen_transformer_guard_failures",
            "Generated answers that a guard found doubtful and kept out of the cache, by kind: empty, length.",
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
