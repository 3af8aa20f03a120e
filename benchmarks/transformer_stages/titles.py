"""Which titles are asked for, and when: a catalogue with popularity after Zipf, and arrivals after Poisson. Pure.

A title's popularity is its rank to the power of -exponent. Before a load the most popular titles are put into the
cache, as many as make the wanted share of hits; what the load repeats of the others counts as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ONE_SENTENCE = re.compile(r"(?:[^.?!。？！]|\.(?=\d)){20,}")
"""A longer text without an end of a sentence in it: what the release translates as one."""


def zipf(titles: int, exponent: float) -> Floats:
    """[titles] probability of each rank, most popular first."""
    weights = np.arange(1, titles + 1, dtype=np.float64) ** -exponent
    probabilities: Floats = weights / weights.sum()
    return probabilities


def expected_hits(popularity: Floats, draws: int, cached: int) -> float:
    """Share of ``draws`` that find their title in a cache that begins with the ``cached`` most popular ones.

    It forgets nothing. Of another title all draws but the first are hits: n p - (1 - (1 - p)^n) of n draws with
    probability p each.
    """
    tail = popularity[cached:]
    first = -np.expm1(draws * np.log1p(-tail))
    return float(popularity[:cached].sum() + (draws * tail - first).sum() / draws)


def cached_for(popularity: Floats, draws: int, share: float) -> int:
    """How many of the most popular titles must be cached beforehand, at least, for ``share`` of hits.

    Raises:
        ValueError: so many draws repeat more than that by themselves, or ``share`` is above 1.
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
    """``count`` ranks, 0 the most popular."""
    ranks: list[int] = rng.choice(len(popularity), size=count, p=popularity).tolist()
    return ranks


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Starts of requests that come independently of each other, ``rate`` a second on average, in seconds."""
    gaps = rng.exponential(1 / rate, size=int(rate * seconds + 10 * (rate * seconds) ** 0.5 + 10))
    starts = np.cumsum(gaps)
    return tuple(starts[starts < seconds].tolist())


def distinct(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Those of one sentence, each once."""
    seen: set[str] = set()
    for text, translation in pairs:
        if text not in seen and _ONE_SENTENCE.fullmatch(text):
            seen.add(text)
            yield text, translation
