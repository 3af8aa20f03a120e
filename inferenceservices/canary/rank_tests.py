"""One-sided tests of whether one group has larger values or a larger share than another, from counts alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]


def larger_share(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """P-value of Fisher's exact test that the first share is larger; 1 where it is not.

    The tail of the hypergeometric distribution, so it holds for a few events too.

    Args:
        hits: events of the first group.
        trials: its size; ``hits`` at least.
        other_hits: events of the second group.
        other_trials: its size.
    """
    if not trials or not other_trials or hits * other_trials <= other_hits * trials:
        return 1.0
    total, events = trials + other_trials, hits + other_hits
    first = (
        _log_choose(events, hits) + _log_choose(total - events, trials - hits) - _log_choose(total, trials)
    )
    x = np.arange(hits, min(events, trials), dtype=np.float64)
    ratios = np.log((events - x) * (trials - x)) - np.log((x + 1) * (total - events - trials + x + 1))
    tail = np.exp(first + np.concatenate(([0.0], np.cumsum(ratios))))
    return float(min(1.0, tail.sum()))


def larger_values(first: Counts, second: Counts) -> float:
    """P-value of the Mann-Whitney test that the first group's values are larger.

    The normal approximation with corrections for ties and continuity (Lehmann, Nonparametrics, 1975, section 1.4).

    Args:
        first: the group's observations in each bucket, by ascending value.
        second: the other group's, in the same buckets.
    """
    n, m = float(first.sum()), float(second.sum())
    if not n or not m:
        return 1.0
    ties = first + second
    total = n + m
    u = float((first * (np.cumsum(second) - second / 2)).sum())
    variance = n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = (u - n * m / 2 - 0.5) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
