"""What the transformer measures, for Prometheus: names, units and bounded labels. Never a text.

The names are a contract with dashboards and alerts. Languages as labels are the release's own tags (and ``und``),
so their number is bounded by the release, whatever callers send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
            "Seconds of one look-up (read), one write-back (write) or one command about leases (lease) of a tier, "
            "failures included.",
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
            "open), superseded (another replica's lease is newer), failed.",
            ("result",),
            registry=registry,
        )
        self.redis_errors = Counter(
            "yiwen_transformer_redis_errors",
            "Commands that Redis did not answer, by operation (read, write, lease, probe) and kind (auth, "
            "connection, full, loading, readonly, response, timeout, other).",
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


class FlightMetrics:
    """How translations that several requests miss at once are made once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.flights = Counter(
            "yiwen_transformer_flights",
            "Texts that missed the cache, by kind: led (generated for the request that asked first), joined (a "
            "request waited for another one's), fetched (another replica made it meanwhile), taken_over (generated "
            "here because another replica's lease ended without a translation), repeated (generated again since the "
            "first request's deadline was shorter than a waiting one's), abandoned (nobody waited any more), lost "
            "(the lease ended while this process was generating).",
            ("kind",),
            registry=registry,
        )
        self.claims = Counter(
            "yiwen_transformer_lease_claims",
            "Leases asked of Redis by result: held, busy (another replica has it), value (the translation has come "
            "meanwhile), none (Redis is not used, fails or refuses).",
            ("result",),
            registry=registry,
        )
        self.leases = Gauge(
            "yiwen_transformer_leases_held",
            "Leases that this process holds: texts it generates while other replicas wait.",
            registry=registry,
        )


class PredictorMetrics:
    """What lies between this process and the predictor."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sends = Counter(
            "yiwen_transformer_predictor_sends",
            "Requests sent to a predictor, those sent again included, by address (main, latest, prev, tagged1 ...).",
            ("address",),
            registry=registry,
        )
        self.searches = Counter(
            "yiwen_transformer_release_searches",
            "Searches for a predictor of this transformer's own release, by result: found, not_found.",
            ("result",),
            registry=registry,
        )
        self.retries = Counter(
            "yiwen_transformer_predictor_retries",
            "Requests that could be sent again by kind (repeat, readdress, resume) and result: made, or refused "
            "because the retry budget was used up.",
            ("kind", "result"),
            registry=registry,
        )
        self.admissions = Counter(
            "yiwen_transformer_admissions",
            "Requests with cache misses by result: admitted, refused.",
            ("result",),
            registry=registry,
        )
        self.waits = Counter(
            "yiwen_transformer_warming_waits",
            "Requests that had to wait for the predictor to come up by result: released, given_up, full.",
            ("result",),
            registry=registry,
        )
        self.start_seconds = Histogram(
            "yiwen_transformer_predictor_start_seconds",
            "Seconds from the first request that the predictor did not take until it was up.",
            registry=registry,
            buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
        )
        self._tokens = Gauge(
            "yiwen_transformer_admitted_tokens",
            "Tokens (prompts and longest answers allowed) of requests under way to the predictor.",
            registry=registry,
        )
        self._drain = Gauge(
            "yiwen_transformer_drain_tokens_per_second",
            "Measured rate at which admitted tokens are done while there are any; 0 while unknown.",
            registry=registry,
        )
        self._warming = Gauge(
            "yiwen_transformer_warming_waiters",
            "Requests that wait for the predictor to come up.",
            registry=registry,
        )

    def watch_admission(self, *, tokens: Callable[[], float], drain_per_s: Callable[[], float]) -> None:
        """Read the work under way whenever metrics are scraped."""
        self._tokens.set_function(tokens)
        self._drain.set_function(drain_per_s)

    def watch_warming(self, waiters: Callable[[], float]) -> None:
        """Read the number of those who wait whenever metrics are scraped."""
        self._warming.set_function(waiters)


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
        self.predictor = PredictorMetrics(registry)
        self.flights = FlightMetrics(registry)
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

    def answered(self, *, source: str, target: str, cache: CacheStatus, characters: Sequence[int]) -> None:
        """Count texts that were answered alike, by how many characters each has."""
        self._segments.labels(source, target, cache.value).inc(len(characters))
        self._characters.labels(source, target).inc(sum(characters))

    def watch_cache(self, *, size_bytes: Callable[[], float], entries: Callable[[], float]) -> None:
        """Read the cache's size whenever metrics are scraped."""
        self._cache_bytes.set_function(size_bytes)
        self._cache_entries.set_function(entries)
