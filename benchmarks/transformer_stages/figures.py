"""Computes figures from the samples of a load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from benchmarks.transformer_stages.job import FAILED, Outcome, RequestSample

OK = 200
REFUSED = 429
TOO_LATE = 504


def percentile(values: Sequence[float], share: float) -> float:
    """The ``share`` quantile by nearest rank; nan without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def latencies_ms(samples: Sequence[RequestSample]) -> list[float]:
    """Latency of each request in milliseconds; infinite without a translation."""
    return [sample.latency_s * 1e3 if sample.status == OK else math.inf for sample in samples]


def rate(outcome: Outcome, seconds: float, skipped_s: float) -> float:
    """Requests answered per second, between ``skipped_s`` and ``seconds`` after the start."""
    ends = [each.start_s + each.latency_s for each in outcome.samples if each.status == OK]
    return sum(skipped_s <= end < seconds for end in ends) / (seconds - skipped_s)


def within(outcome: Outcome, limit_s: float) -> Outcome:
    """The outcome for callers with a timeout of ``limit_s``; later answers count as failures."""
    samples = (
        replace(each, status=TOO_LATE) if each.status == OK and each.latency_s > limit_s else each
        for each in outcome.samples
    )
    return replace(outcome, samples=tuple(samples))


def spread_ms(samples: Sequence[RequestSample]) -> dict[str, float | None]:
    """P50, P95, P99 in milliseconds; None for a percentile that failed requests reach."""
    known = latencies_ms(samples)
    values = {f"p{share:g}_ms": percentile(known, share / 100) for share in (50, 95, 99)}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def fates(samples: Sequence[RequestSample]) -> dict[str, int]:
    """Number of requests by outcome."""
    counts = Counter(sample.status for sample in samples)
    known = {"ok": OK, "refused": REFUSED, "too_late": TOO_LATE, "unanswered": FAILED}
    named = {name: counts.pop(status, 0) for name, status in known.items()}
    return {**named, "other": sum(counts.values())}


def middle_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios of paired values."""
    return median(a / b for a, b in zip(over, under, strict=True))
