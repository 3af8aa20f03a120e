"""Decides whether a canary is promoted, held where it is, or rolled back, from what both releases counted.

A canary is worse in a signal where a one-sided test says so at the level of this look, and the difference is larger
than the tolerance: with enough requests any difference is significant. Look k of a rollout may spend
``alpha / (k (k + 1))`` of the false alarms, which add up to ``alpha`` over any number of looks, and all signals of a
look share it equally (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from inferenceservices.canary.counters import BucketCounts, ReleaseCounts
from inferenceservices.canary.rank_tests import Counts, larger_share, larger_values

SIGNALS = 7
"""Tests in a look: errors, flags, confidence, and the middle and the tail of two durations."""
FLAG_DISPERSION = 2
"""Variance of the count of flags in that of independent ones: an answer and its second attempt are flagged alike."""
LEAST_FOR_RANKS = 20
"""Observations that the normal approximation of the Mann-Whitney test needs in each group."""
TAIL = 0.95
"""Quantile of both releases' durations at whose bucket their tails begin."""
COMPARABLE_CACHE = 1.05
"""Ratio of the shares of generated texts up to which durations of whole requests are compared."""


class Verdict(str, Enum):
    """What to do with a canary."""

    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How sure a decision must be, and which differences matter."""

    alpha: float = 0.01
    """Chance of rolling an equal canary back, over all looks of its rollout."""
    suspicion: float = 0.2
    """P-value up to which a difference beyond the tolerance is looked at again."""
    samples: int = 200
    """Requests of each release that a promotion needs, and a quarter of that to the predictor."""
    errors: float = 0.005
    """Tolerated difference of the shares of failed requests."""
    flags: float = 0.01
    """Tolerated difference of flags per generated text."""
    confidence: float = 0.05
    """Tolerated decrease of the mean confidence of generated texts; 1 leaves it out."""
    slower: float = 0.1
    """Tolerated increase of the mean duration, relative."""
    tail: float = 0.02
    """Tolerated difference of the shares of slow requests."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One comparison."""

    text: str
    """Its figures, the canary's first."""
    p: float
    """P-value of the canary being worse."""
    is_beyond: bool
    """Whether the canary is worse by more than the tolerance."""
    is_duration: bool = False
    """Whether it waits for enough samples: the first requests of a process that has just started are slow."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision."""

    verdict: Verdict
    explanation: str
    """One line with the figures that it was made from."""


def judge(
    stable: ReleaseCounts, canary: ReleaseCounts, look: int, thresholds: Thresholds | None = None
) -> Judgement:
    """Compare a canary with the stable release over the same span of time.

    Args:
        stable: what the stable release counted.
        canary: what the canary counted.
        look: number of this look in the rollout, from 1.
        thresholds: None for the defaults.
    """
    limits = thresholds or Thresholds()
    level = limits.alpha / (look * (look + 1)) / SIGNALS
    signals = tuple(_signals(stable, canary, limits))
    sizes = f"{canary.requests} and {stable.requests} requests"
    beyond = [signal for signal in signals if signal.is_beyond]
    missing = _missing_samples(stable, canary, limits)
    if worse := [signal for signal in beyond if signal.p < level and not (missing and signal.is_duration)]:
        return _judgement(Verdict.ROLL_BACK, f"worse at level {level:.1g}", worse, sizes)
    if missing:
        return Judgement(Verdict.HOLD, f"hold: {missing}")
    if suspicious := [signal for signal in beyond if signal.p < limits.suspicion]:
        return _judgement(Verdict.HOLD, f"not certain at level {level:.1g}", suspicious, sizes)
    return _judgement(Verdict.PROMOTE, "not worse", signals, sizes)


def _judgement(
    verdict: Verdict, why: str, signals: list[Signal] | tuple[Signal, ...], sizes: str
) -> Judgement:
    figures = "; ".join(f"{signal.text} (p {signal.p:.2g})" for signal in signals)
    return Judgement(verdict, f"{verdict.value}: {why}: {figures}; {sizes}")


def _missing_samples(stable: ReleaseCounts, canary: ReleaseCounts, limits: Thresholds) -> str:
    for what, needed, counts in (
        ("requests", limits.samples, (canary.requests, stable.requests)),
        (
            "requests to the predictor",
            limits.samples // 4,
            (canary.predictor_seconds.count, stable.predictor_seconds.count),
        ),
    ):
        if min(counts) < needed:
            mine, other = counts
            return f"{mine:g} {what} of the canary and {other:g} of the stable release, {needed} of each are needed"
    return ""


def _signals(stable: ReleaseCounts, canary: ReleaseCounts, limits: Thresholds) -> Iterator[Signal]:
    yield _share("errors", canary.errors, canary.requests, stable.errors, stable.requests, limits.errors)
    yield _flags(stable, canary, limits.flags)
    yield from _confidence(stable.confidence, canary.confidence, limits.confidence)
    yield from _durations("predictor", stable.predictor_seconds, canary.predictor_seconds, limits)
    if canary.generated_share <= COMPARABLE_CACHE * stable.generated_share:
        yield from _durations("request", stable.request_seconds, canary.request_seconds, limits)


def _share(what: str, hits: int, trials: int, other_hits: int, other_trials: int, tolerance: float) -> Signal:
    mine, other = hits / max(trials, 1), other_hits / max(other_trials, 1)
    p = larger_share(hits, trials, other_hits, other_trials)
    return Signal(f"{what} {mine:.2%} against {other:.2%}", p, mine - other > tolerance)


def _flags(stable: ReleaseCounts, canary: ReleaseCounts, tolerance: float) -> Signal:
    """Flags per generated text, tested with both counts divided by their dispersion (quasi-likelihood)."""
    mine, other = (each.flags / max(each.generated, 1) for each in (canary, stable))
    counts = []
    for each in (canary, stable):
        trials = each.generated // FLAG_DISPERSION
        counts += [min(each.flags // FLAG_DISPERSION, trials), trials]
    p = larger_share(counts[0], counts[1], counts[2], counts[3])
    return Signal(f"flags per text {mine:.3f} against {other:.3f}", p, mine - other > tolerance)


def _confidence(stable: BucketCounts, canary: BucketCounts, tolerance: float) -> Iterator[Signal]:
    """The middle of the confidence of generated texts by ranks."""
    _, mine, other = _in_common(stable, canary)
    if min(mine.sum(), other.sum()) < LEAST_FOR_RANKS or tolerance >= 1:
        return
    text = f"mean confidence {canary.mean:.3f} against {stable.mean:.3f}"
    yield Signal(text, larger_values(other, mine), stable.mean - canary.mean > tolerance)


def _in_common(stable: BucketCounts, canary: BucketCounts) -> tuple[list[float], Counts, Counts]:
    """Bounds that both histograms have, and the observations of canary and stable release in these buckets."""
    bounds = sorted(set(stable.cumulative) & set(canary.cumulative))
    return bounds, canary.within(bounds), stable.within(bounds)


def _durations(what: str, stable: BucketCounts, canary: BucketCounts, limits: Thresholds) -> Iterator[Signal]:
    """The middle of a duration by ranks, and its tail by the share beyond a bound of both releases together."""
    bounds, mine, other = _in_common(stable, canary)
    n, m = round(mine.sum()), round(other.sum())
    if min(n, m) < LEAST_FOR_RANKS:
        return
    ratio = canary.mean / stable.mean if stable.mean else 1.0
    yield Signal(
        f"mean of {what} {canary.mean:.3g} s against {stable.mean:.3g} s",
        larger_values(mine, other),
        ratio > 1 + limits.slower,
        is_duration=True,
    )
    pooled = np.cumsum(mine + other)
    cut = int(np.searchsorted(pooled, TAIL * pooled[-1]))
    slow, other_slow = round(mine[cut + 1 :].sum()), round(other[cut + 1 :].sum())
    tail = _share(f"{what} over {bounds[cut]:g} s", slow, n, other_slow, m, limits.tail)
    yield replace(tail, is_duration=True)
