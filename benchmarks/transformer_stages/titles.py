"""Workload: a catalog with Zipf-distributed popularity, and Poisson arrivals.

A title's popularity is its rank to the power of -exponent. Before a load, the most popular titles are put into the
cache, as many as give the wanted hit rate together with the load's own repetitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ONE_SENTENCE = re.compile(r"(?:[^.?!。？！]|\.(?=\d)){20,}")
"""Matches a longer text without a sentence end, which the release translates as a whole."""


def zipf(titles: int, exponent: float) -> Floats:
    """[titles] probability of each rank, most popular first."""
    weights = np.arange(1, titles + 1, dtype=np.float64) ** -exponent
    probabilities: Floats = weights / weights.sum()
    return probabilities


def expected_hits(popularity: Floats, draws: int, cached: int) -> float:
    """Expected hit rate of ``draws`` on a cache that starts with the ``cached`` most popular titles.

    Nothing is evicted. All draws of another title but the first are hits: n p - (1 - (1 - p)^n) of n draws with
    probability p each.
    """
    tail = popularity[cached:]
    first = -np.expm1(draws * np.log1p(-tail))
    return float(popularity[:cached].sum() + (draws * tail - first).sum() / draws)


def cached_for(popularity: Floats, draws: int, share: float) -> int:
    """Smallest number of the most popular titles that must be cached beforehand for a hit rate of ``share``.

    Raises:
        ValueError: the draws alone give a higher hit rate, or ``share`` is above 1.
    """
    if expected_hits(popularity, draws, 0) > share or share > 1:
        raise ValueError(
            f"{draws} draws from {len(popularity)} titles cannot have {share:.0%} of hits: take more titles"
        )
    low, high = 0, len(popularity)
    while low < high:
        middle = (low + high) // 2
        if expected_hits(popularity, draws, middle) < share:
            low = middle + 1
        else:
            high = middle
    return low


def draw(popularity: Floats, count: int, rng: np.random.Generator) -> list[int]:
    """Draw ``count`` ranks; 0 is the most popular."""
    ranks: list[int] = rng.choice(len(popularity), size=count, p=popularity).tolist()
    return ranks


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Start times of a Poisson process of ``rate`` requests per second, in seconds; none where it is 0."""
    if rate == 0:
        return ()
    gaps = rng.exponential(1 / rate, size=int(rate * seconds + 10 * (rate * seconds) ** 0.5 + 10))
    starts = np.cumsum(gaps)
    return tuple(starts[starts < seconds].tolist())


def distinct(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Distinct titles of a single sentence."""
    seen: set[str] = set()
    for text, translation in pairs:
        if text not in seen and _ONE_SENTENCE.fullmatch(text):
            seen.add(text)
            yield text, translation
