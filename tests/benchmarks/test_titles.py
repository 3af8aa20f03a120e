from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.transformer_stages.setting import some_titles, titles
from benchmarks.transformer_stages.titles import cached_for, distinct, draw, expected_hits, poisson, zipf


def hits_of(ranks: list[int], cached: int) -> int:
    """A cache that forgets nothing, drawn from one by one."""
    known = set(range(cached))
    hits = 0
    for rank in ranks:
        hits += rank in known
        known.add(rank)
    return hits


@given(st.integers(1, 5000), st.floats(0.0, 2.0))
def test_popularity_is_a_distribution_that_falls_with_the_rank(count: int, exponent: float) -> None:
    popularity = zipf(count, exponent)

    assert popularity.sum() == pytest.approx(1.0)
    assert (np.diff(popularity) <= 0).all()
    assert popularity[0] / popularity[-1] == pytest.approx(count**exponent)


@pytest.mark.parametrize("cached", [0, 20, 300])
def test_expected_hits_are_those_of_a_cache_that_is_drawn_from(cached: int) -> None:
    popularity = zipf(2000, 0.8)
    rng = np.random.default_rng(1)
    shares = [hits_of(draw(popularity, 400, rng), cached) / 400 for _ in range(300)]

    # 300 repeats of 400 draws: a standard error of some 0.0015.
    assert expected_hits(popularity, 400, cached) == pytest.approx(np.mean(shares), abs=0.008)


@settings(max_examples=30)
@given(st.integers(1, 400), st.floats(0.3, 1.0))
def test_the_fewest_titles_are_cached_that_bring_the_share(draws: int, share: float) -> None:
    popularity = zipf(20_000, 0.7)
    cached = cached_for(popularity, draws, share)

    assert expected_hits(popularity, draws, cached) >= share - 1e-9
    assert cached == 0 or expected_hits(popularity, draws, cached - 1) < share


def test_a_share_that_repetition_alone_exceeds_is_refused() -> None:
    with pytest.raises(ValueError, match="take more titles"):
        cached_for(zipf(10, 1.0), 1000, 0.35)


@given(st.floats(0.5, 2000.0), st.floats(0.1, 3.0), st.integers(0, 2**32))
def test_arrivals_are_ordered_and_within_the_time(rate: float, seconds: float, seed: int) -> None:
    at_s = poisson(rate, seconds, np.random.default_rng(seed))

    assert list(at_s) == sorted(at_s)
    assert all(0 < start < seconds for start in at_s)


def test_arrivals_come_at_the_rate_and_independently() -> None:
    counts = [len(poisson(200.0, 1.0, np.random.default_rng(seed))) for seed in range(400)]

    assert np.mean(counts) == pytest.approx(200, abs=3)
    assert np.var(counts) == pytest.approx(200, rel=0.3)  # as Poisson's is


def test_titles_are_single_sentences_each_once() -> None:
    pairs = [
        ("Blue Wall-Mounted Steel Hook Rails, 2.5kg", "a"),
        ("Blue Wall-Mounted Steel Hook Rails, 2.5kg", "b"),
        ("Where is my order? It is late by now", "c"),
        ("Short", "d"),
    ]

    assert list(distinct(pairs)) == pairs[:1]


def test_the_grammar_gives_as_many_different_titles_as_are_wanted_always_the_same() -> None:
    first = some_titles(3000)

    assert len({text for text, _ in first}) == 3000
    assert list(islice(titles(), 50)) == first[:50]
    assert some_titles(10, skipped=40) == first[40:50]
