"""The counters of a transformer that a canary is judged by: read from metrics, and compared over time.

Counters are a flat mapping from a name to a number, so that they are kept as JSON and subtracted name by name. The
metrics are in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from inferenceservices.canary.rank_tests import Counts

REQUESTS, SEGMENTS = "yiwen_requests_total", "yiwen_transformer_segments_total"
FLAGS = "yiwen_transformer_guard_failures_total"
REQUEST_SECONDS, PREDICTOR_SECONDS = "yiwen_request_seconds", "yiwen_transformer_predictor_seconds"
CONFIDENCE = "yiwen_transformer_confidence"
_HISTOGRAMS = (REQUEST_SECONDS, PREDICTOR_SECONDS, CONFIDENCE)
METRIC_NAMES = (
    REQUESTS, SEGMENTS, FLAGS, *(f"{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum")),
)  # fmt: skip
"""Names of the samples that are read."""

Counters = Mapping[str, float]
ProcessCounters = Mapping[str, Counters]
"""Counters by process (pod)."""


@dataclass(frozen=True, slots=True)
class BucketCounts:
    """A histogram: observations at most each bound, as Prometheus counts them."""

    cumulative: Mapping[float, float]
    """Observations by upper bound, the infinite one included."""
    total: float
    """Sum of the observations."""

    @property
    def count(self) -> float:
        """Number of observations."""
        return self.cumulative.get(float("inf"), 0.0)

    @property
    def mean(self) -> float:
        """Mean of the observations; 0 without any."""
        return self.total / self.count if self.count else 0.0

    def within(self, bounds: Iterable[float]) -> Counts:
        """Observations in each bucket between ascending bounds."""
        counts: Counts = np.diff([0.0, *(self.cumulative[bound] for bound in bounds)])
        return counts


NO_OBSERVATIONS = BucketCounts({}, 0.0)


@dataclass(frozen=True, slots=True)
class ReleaseCounts:
    """What one release's transformers did in a span of time."""

    requests: int
    """Answered with success or with a failure of the service (5xx)."""
    errors: int
    """Answered with 5xx."""
    texts: int
    generated: int
    """Texts that the model translated for the request that asked: neither cached nor shared, nor without a need."""
    flags: int
    """Objections of guards; an answer may have several, and a second attempt is counted again."""
    request_seconds: BucketCounts
    """Of requests that succeeded, without streams."""
    predictor_seconds: BucketCounts
    """Of requests to the predictor: only texts that the cache did not answer need one."""
    confidence: BucketCounts = NO_OBSERVATIONS
    """Of the generated texts, 0 to 1; without observations where a release's version of Yiwen does not count it."""

    @property
    def generated_share(self) -> float:
        """Share of the texts that were generated; 0 without texts."""
        return self.generated / self.texts if self.texts else 0.0


def read_counters(text: str) -> dict[str, float]:
    """Counters of a process from its metrics in Prometheus' text format.

    Raises:
        ValueError: it is not that format.
    """
    families = text_string_to_metric_families(text)
    return sum_samples(sample for family in families for sample in family.samples)


def sum_samples(samples: Iterable[Sample]) -> dict[str, float]:
    """Counters of one process from the samples of its metrics."""
    found: dict[str, float] = {}
    for sample in samples:
        for name in _names(sample.name, sample.labels):
            found[name] = found.get(name, 0.0) + sample.value
    return found


def increase(before: ProcessCounters, after: ProcessCounters) -> ReleaseCounts:
    """What a release's processes counted between two readings.

    A process that started in between, or again, counts from 0. What one counted that has ended is not known.
    """
    total: dict[str, float] = {}
    for process, counters in after.items():
        old = before.get(process, {})
        if any(counters.get(name, 0.0) < value for name, value in old.items()):
            old = {}
        for name, value in counters.items():
            total[name] = total.get(name, 0.0) + value - old.get(name, 0.0)
    return release_counts(total)


def release_counts(counters: Counters) -> ReleaseCounts:
    """Counters as a release's counts."""
    return ReleaseCounts(
        requests=round(counters.get("requests", 0)),
        errors=round(counters.get("errors", 0)),
        texts=round(counters.get("texts", 0)),
        generated=round(counters.get("generated", 0)),
        flags=round(counters.get("flags", 0)),
        request_seconds=_histogram(counters, REQUEST_SECONDS),
        predictor_seconds=_histogram(counters, PREDICTOR_SECONDS),
        confidence=_histogram(counters, CONFIDENCE),
    )


def _names(name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The counters that a sample is part of."""
    if name == REQUESTS:
        status = labels.get("status", "")
        return {"2": ("requests",), "5": ("requests", "errors")}.get(status[:1], ())
    if name == SEGMENTS:
        return ("texts", "generated") if labels.get("cache") == "miss" else ("texts",)
    if name == FLAGS:
        return ("flags",)
    if name not in METRIC_NAMES or not _is_compared(name, labels):
        return ()
    return (f"{name} {float(labels['le'])}",) if "le" in labels else (name,)


def _is_compared(name: str, labels: Mapping[str, str]) -> bool:
    """Whether a sample of a histogram is of requests whose duration says how fast the release is."""
    is_slow_by_nature = labels.get("endpoint") == "generate_stream" or labels.get("code_class") != "2xx"
    return not name.startswith(REQUEST_SECONDS) or not is_slow_by_nature


def _histogram(counters: Counters, name: str) -> BucketCounts:
    prefix = f"{name}_bucket "
    cumulative = {
        float(key.removeprefix(prefix)): value for key, value in counters.items() if key.startswith(prefix)
    }
    return BucketCounts(cumulative, counters.get(f"{name}_sum", 0.0))
