from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.runners.numpy_kernels import (
    attend,
    best_candidates,
    dequantize,
    quantize,
    rms_norm,
    rotate,
    silu_mul,
)


def test_activations_are_half_or_codes_rounded_to_even_and_clamped() -> None:
    values = np.array([[0.25, 0.75, -1.25, 100.0, -100.0]], np.float32)
    assert quantize(values, None).dtype == np.float16
    codes = quantize(values, np.full(5, 2, np.float32))
    assert codes.dtype == np.int8
    assert codes.tolist() == [[0, 2, -2, 127, -127]]


def test_products_are_scaled_before_the_bias_is_added() -> None:
    product, scale, bias = (
        np.array([[2.0, -3.0]]),
        np.array([10, 1], np.float32),
        np.array([1, 2], np.float32),
    )
    assert dequantize(product.astype(np.float16), None, None).tolist() == [[2, -3]]
    assert dequantize(product.astype(np.float32), scale, bias).tolist() == [[21, -1]]
    assert dequantize(product.astype(np.float16), None, bias).dtype == np.float32


def test_norm_makes_mean_squares_one() -> None:
    values = np.random.default_rng(0).normal(3, 5, (4, 32)).astype(np.float32)
    normed = rms_norm(values, np.full(32, 2, np.float32), 1e-6)
    np.testing.assert_allclose(np.square(normed).mean(axis=1), 4, rtol=1e-5)
    np.testing.assert_allclose(normed / values, (normed / values)[:, :1].repeat(32, axis=1), rtol=1e-5)
    assert rms_norm(np.zeros((1, 2), np.float32), np.ones(2, np.float32), 1e-6).tolist() == [[0, 0]]


def test_gates_come_first_and_large_negative_ones_close() -> None:
    gated = silu_mul(np.array([[1, -200, 200, 3, 5, 7]], np.float32))
    np.testing.assert_allclose(gated, [[3 / (1 + np.exp(-1)), 0, 1400]], rtol=1e-6, atol=1e-30)


def test_rotation_makes_scores_depend_on_distance_alone() -> None:
    angles = np.outer(np.arange(64, dtype=np.float32), [1.0, 0.3, 0.05, 0.01])
    tables = np.cos(angles, dtype=np.float32), np.sin(angles, dtype=np.float32)
    query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 8)).astype(np.float32)

    def score(at: int, behind: int) -> float:
        rotated = [rotate(x, *(t[[p]] for t in tables)) for x, p in ((query, at), (key, at - behind))]
        return float((rotated[0] * rotated[1]).sum())

    assert score(40, 7) == pytest.approx(score(11, 7), abs=1e-4)
    assert abs(score(40, 7) - score(40, 8)) > 1e-2
    assert score(0, 0) == pytest.approx(float((query * key).sum()), abs=1e-5)


def test_rotation_turns_the_first_half_towards_the_second() -> None:
    quarter = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    heads = np.array([[[1, 2, 3, 4]]], np.float32)
    np.testing.assert_array_equal(rotate(heads, *quarter), [[[-3, -4, 1, 2]]])


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_attention_is_that_of_each_query_over_what_it_may_see(heads: int, kv_heads: int) -> None:
    rng = np.random.default_rng(0)
    positions, capacity, size = np.array([5, 6, 7]), 8, 4
    queries = rng.normal(size=(len(positions), heads, size)).astype(np.float32)
    keys, values = rng.normal(size=(2, kv_heads, capacity, size)).astype(np.float16)
    attended = attend(queries, keys, values, positions)
    for row, position in enumerate(positions):
        for head in range(heads):
            shared = head * kv_heads // heads
            seen_keys, seen_values = keys[shared, : position + 1], values[shared, : position + 1]
            weights = np.exp(seen_keys.astype(np.float64) @ queries[row, head] / np.sqrt(size))
            expected = weights @ seen_values / weights.sum()
            np.testing.assert_allclose(attended[row, head], expected, rtol=1e-4, atol=1e-5)


@given(
    logits=st.lists(st.lists(st.integers(-3, 3), min_size=7, max_size=7), min_size=1, max_size=4),
    count=st.integers(1, 7),
)
def test_candidates_are_the_head_of_a_full_sort(logits: list[list[int]], count: int) -> None:
    """Values from a small set, so that ties are many, also across the last place."""
    values = np.array(logits, np.float32)
    ids, logprobs = best_candidates(values, count)
    for row, found, scores in zip(logits, ids, logprobs, strict=True):
        expected = sorted(range(7), key=lambda token: (-row[token], token))[:count]
        assert found.tolist() == expected
        total = np.log(np.exp(np.array(row, np.float64)).sum())
        np.testing.assert_allclose(scores, [row[token] - total for token in expected], atol=1e-5)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_without_a_best_one_are_an_error(broken: float) -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        best_candidates(np.array([[0.0, broken, 1.0]], np.float32), 1)
