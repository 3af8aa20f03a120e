"""The tests of a canary against counting every arrangement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferenceservices.canary.rank_tests import larger_share, larger_values


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_fishers_test_is_the_share_of_arrangements_at_least_as_extreme(
    trials: int, other: int, data: st.DataObject
) -> None:
    hits, other_hits = data.draw(st.integers(0, trials)), data.draw(st.integers(0, other))
    events = hits + other_hits
    total = math.comb(trials + other, events)
    exact = sum(
        math.comb(trials, k) * math.comb(other, events - k) for k in range(hits, min(events, trials) + 1)
    )
    is_larger = hits / trials > other_hits / other
    expected = exact / total if is_larger else 1.0
    assert larger_share(hits, trials, other_hits, other) == pytest.approx(expected)


def test_two_failures_among_a_hundred_are_not_certain_and_twenty_are() -> None:
    assert larger_share(2, 100, 0, 900) == pytest.approx(math.comb(100, 2) / math.comb(1000, 2))
    assert larger_share(20, 100, 2, 900) < 1e-15
    assert larger_share(1_000_000, 1_000_000, 0, 9_000_000) == 0.0


@pytest.mark.parametrize(("shift", "buckets"), [(0.0, 4), (0.2, 12), (0.3, 4), (0.5, 6)])
def test_mann_whitney_is_the_share_of_permutations_with_as_large_ranks(shift: float, buckets: int) -> None:
    rng = np.random.default_rng(7)
    drawn = np.concatenate((rng.normal(shift, 1, 40), rng.normal(0, 1, 160)))
    values = np.digitize(drawn, np.linspace(-2, 2, buckets - 1))
    below = (values[:, None] > values).sum(1) + 0.5 * (values[:, None] == values).sum(1)
    sums = np.array([below[rng.permutation(200)[:40]].sum() for _ in range(4000)])
    first, second = (
        np.bincount(part, minlength=buckets).astype(float) for part in (values[:40], values[40:])
    )
    # 4,000 permutations know a share to 0.008 (one standard error).
    assert larger_values(first, second) == pytest.approx(np.mean(sums >= below[:40].sum()), abs=0.025)


def test_p_values_of_equal_groups_are_uniform() -> None:
    rng = np.random.default_rng(5)
    shape = np.full(20, 1 / 20)
    drawn = ((rng.multinomial(200, shape), rng.multinomial(1800, shape)) for _ in range(2000))
    p = np.array([larger_values(a.astype(float), b.astype(float)) for a, b in drawn])
    for level in (0.5, 0.1, 0.01):
        # Four standard errors of a share of 2,000 draws.
        assert np.mean(p < level) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 2000))


def test_without_observations_nothing_is_larger() -> None:
    none, some = np.zeros(3), np.array([1.0, 0.0, 2.0])
    assert larger_values(none, some) == larger_values(some, none) == 1.0
    assert larger_share(0, 0, 5, 10) == larger_share(5, 10, 0, 0) == 1.0
