from __future__ import annotations

import numpy as np
import pytest

from predictor.builder.verify.agreement import (
    Continuation,
    divergence_of_candidates,
    kl_divergence,
    mean_figures,
    measure_agreement,
)


def distributions(rows: int, tokens: int, seed: int) -> np.ndarray:
    """Log-probabilities [rows, tokens]."""
    logits = np.random.default_rng(seed).normal(0, 2, (rows, tokens))
    logprobs: np.ndarray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logprobs


def test_over_all_tokens_the_divergence_is_exact() -> None:
    reference, release = distributions(5, 8, 1), distributions(5, 8, 2)
    exact = (np.exp(reference) * (reference - release)).sum(axis=1)
    assert kl_divergence(reference, release) == pytest.approx(exact, abs=1e-7)
    assert kl_divergence(reference, reference) == pytest.approx(np.zeros(5), abs=1e-7)


def test_over_some_tokens_it_is_a_lower_bound() -> None:
    reference, release = distributions(50, 40, 1), distributions(50, 40, 2)
    exact = (np.exp(reference) * (reference - release)).sum(axis=1)
    bound = kl_divergence(reference[:, :10], release[:, :10])
    assert (bound <= exact + 1e-9).all()
    assert (bound > 0).all()


def continuation(release: np.ndarray, followed: list[int], candidates: int) -> Continuation:
    ids = np.argsort(-release, axis=1)[:, :candidates]
    logprobs = np.take_along_axis(release, ids, axis=1).astype(np.float32)
    return Continuation(np.array(followed), ids.astype(np.int32), logprobs)


def test_figures_are_those_of_all_positions() -> None:
    reference = np.log(np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]))
    release = np.log(np.array([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.5, 0.2, 0.3]]))
    figures = mean_figures([measure_agreement(reference, continuation(release, [0, 2, 2], 2))])
    assert (figures["equal_tokens"], figures["ties"]) == (2, 1)
    assert figures["first_disagreement"] is not None
    assert figures["first_disagreement"].position == 2
    # Token 2 is no candidate at position 1: the last candidate's probability is the bound.
    assert figures["nats_per_token"] == pytest.approx(-np.log([0.6, 0.3, 0.3]).mean())
    assert figures["reference_nats_per_token"] == pytest.approx(-np.log([0.7, 0.2, 0.7]).mean())


def test_a_disagreement_in_a_later_prompt_is_found() -> None:
    reference = distributions(4, 6, 3)
    same = measure_agreement(reference, continuation(reference, [0, 1, 2, 3], 6))
    other = measure_agreement(reference, continuation(reference[::-1].copy(), [0, 1, 2, 3], 6))
    figures = mean_figures([same, other])
    assert figures["first_disagreement"] is not None
    assert figures["first_disagreement"].prompt == 1
    assert mean_figures([same])["first_disagreement"] is None
    assert mean_figures([same])["kl_nats"] == pytest.approx(0, abs=1e-7)


def test_two_releases_are_compared_over_the_candidates_of_both() -> None:
    reference = distributions(50, 40, 1)
    logits = reference + np.random.default_rng(2).normal(0, 0.3, reference.shape)
    release = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    exact = (np.exp(reference) * (reference - release)).sum(axis=1)
    followed = [0] * 50
    whole = [continuation(each, followed, 40) for each in (reference, release)]
    some = [continuation(each, followed, 10) for each in (reference, release)]
    assert divergence_of_candidates(*whole) == pytest.approx(exact, abs=1e-5)
    bound = divergence_of_candidates(*some)
    assert (bound <= exact + 1e-6).all()
    assert bound.mean() > 0.5 * exact.mean()
