"""Smoothing and rounding, as arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from predictor.builder.int8.smooth import (
    ALPHAS,
    CLIPS,
    LIMIT,
    best_smoothing,
    column_maxima,
    input_scale,
    int8_product,
    quantize_inputs,
    quantize_weights,
    relative_error,
    smoothing_factors,
)

T, K, N = 96, 160, 80


def matrices(seed: int = 0, *, outliers: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [T, K], a few of whose columns are larger, and weights [N, K] in float16."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, K)).astype(np.float32)
    values[:, ::37] *= outliers
    return values, rng.normal(scale=0.05, size=(N, K)).astype(np.float16)


def largest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    maxima: npt.NDArray[Any] = np.abs(values).max(axis=0)
    return maxima


@pytest.mark.parametrize("alpha", ALPHAS)
def test_smoothing_leaves_the_product_as_it_is(alpha: float) -> None:
    values, weights = matrices(outliers=60)
    factors = smoothing_factors(largest(values), column_maxima(weights), alpha)
    wide = weights.astype(np.float64)
    np.testing.assert_allclose((values / factors) @ (wide * factors).T, values @ wide.T, rtol=1e-4, atol=1e-4)


def test_alpha_divides_outliers_between_activations_and_weights() -> None:
    values, weights = matrices(outliers=60)
    columns = column_maxima(weights)

    def spread(alpha: float) -> tuple[float, float]:
        factors = smoothing_factors(largest(values), columns, alpha)
        inputs, scaled = largest(values) / factors, columns * factors
        return float(inputs.max() / inputs.min()), float(scaled.max() / scaled.min())

    assert spread(1.0)[0] == pytest.approx(1)
    assert spread(0.0)[1] == pytest.approx(1)
    np.testing.assert_allclose(*spread(0.5), rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_column_maxima_are_those_of_the_magnitudes(dtype: type) -> None:
    weights: npt.NDArray[Any] = matrices()[1].astype(dtype)
    weights[3, 5], weights[:, 6] = -9, 0
    found = column_maxima(weights)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.abs(weights.astype(np.float32)).max(axis=0))


def test_scales_hold_all_that_was_seen_and_folding_them_is_exact() -> None:
    """With weights and scales that are powers of two nothing is rounded at all."""
    rng = np.random.default_rng(1)
    columns = 2.0 ** rng.integers(-3, 4, K)
    values = (rng.integers(-LIMIT, LIMIT + 1, (T, K)) * columns / 8).astype(np.float32)
    values[0] = LIMIT * columns / 8
    weights = rng.integers(-LIMIT, LIMIT + 1, (N, K)) / columns / 64
    weights[:, 0] = LIMIT / columns[0] / 64
    scale = input_scale(largest(values), (columns / 64).astype(np.float32))
    codes, output_scale = quantize_weights(weights.astype(np.float32), scale)
    assert np.abs(quantize_inputs(values, scale)).max() == LIMIT
    found = int8_product(quantize_inputs(values, scale), codes, output_scale)
    np.testing.assert_allclose(found, values.astype(np.float64) @ weights.T, rtol=1e-6, atol=1e-5)


def test_the_product_is_what_scales_and_codes_say_in_whole_numbers() -> None:
    values, weights = matrices(outliers=20)
    scale = input_scale(largest(values), smoothing_factors(largest(values), column_maxima(weights), 0.5))
    inputs, (codes, output_scale) = quantize_inputs(values, scale), quantize_weights(weights, scale)
    sums = inputs.astype(np.int32) @ codes.astype(np.int32).T
    np.testing.assert_allclose(
        int8_product(inputs, codes, output_scale), sums * 2.0**-12 * output_scale, rtol=1e-6
    )


def test_the_error_is_within_half_a_step_of_both() -> None:
    values, weights = matrices(outliers=5)
    scale = input_scale(largest(values), smoothing_factors(largest(values), column_maxima(weights), 0.5))
    codes, output_scale = quantize_weights(weights, scale)
    found = int8_product(quantize_inputs(values, scale), codes, output_scale)
    smoothed, factors = np.abs(values * scale), np.abs(weights.astype(np.float64) / scale)
    steps = output_scale * 2.0**-12
    bound = 0.5 * factors.sum(axis=1) + 0.5 * steps * smoothed.sum(axis=1, keepdims=True) + 0.25 * K * steps
    assert (np.abs(found - values @ weights.astype(np.float64).T) <= bound * 1.0001).all()


def test_rows_can_be_quantized_one_by_one() -> None:
    values, weights = matrices()
    weights[7] = 0
    scale = input_scale(largest(values), np.ones(K, np.float32))
    codes, steps = quantize_weights(weights, scale)
    for row in range(N):
        one, step = quantize_weights(weights[row : row + 1], scale)
        np.testing.assert_array_equal(one[0], codes[row])
        assert step[0] == steps[row]
    assert not codes[7].any()
    assert steps[7] == 0
    assert np.abs(np.delete(codes, 7, axis=0)).max(axis=1).tolist() == [LIMIT] * (N - 1)


def test_codes_are_symmetric_and_round_half_to_even() -> None:
    values = np.array([[0.5, 1.5, -2.5, 300, -300]], np.float32)
    assert quantize_inputs(values, np.ones(5, np.float32)).tolist() == [[0, 2, -2, 127, -127]]


def test_outliers_are_smoothed_away() -> None:
    values, weights = matrices(outliers=80)
    plain = input_scale(largest(values), np.ones(K, np.float32))
    unsmoothed = int8_product(quantize_inputs(values, plain), *quantize_weights(weights, plain))
    wanted = values @ weights.astype(np.float32).T
    found = best_smoothing(values, largest(values), weights.astype(np.float32), column_maxima(weights))
    assert found.error < relative_error(unsmoothed, wanted) / 2
    assert found.error < 0.03


def error_of(values: np.ndarray, weights: np.ndarray, scale: np.ndarray) -> float:
    product = int8_product(quantize_inputs(values, scale), *quantize_weights(weights, scale))
    return relative_error(product, values @ weights.astype(np.float32).T)


def test_heavy_tails_are_not_cut_off_by_rule() -> None:
    """Behind a gated MLP most inputs are near 0 and few far out: 4 standard deviations leave too much outside."""
    rng = np.random.default_rng(2)
    gate, up = rng.normal(scale=3, size=(2, 512, K))
    values, weights = (gate / (1 + np.exp(-gate)) * up).astype(np.float32), matrices()[1]
    found = best_smoothing(values, largest(values), weights.astype(np.float32), column_maxima(weights))
    four_sigma = np.full(K, LIMIT / (4 * values.std()), np.float32)
    assert found.error < 0.03
    assert found.error < error_of(values, weights, four_sigma) / 5


def test_few_huge_tokens_are_cut_off_for_the_others() -> None:
    """As the first token of every text may be."""
    values, weights = np.random.default_rng(3).normal(size=(512, K)).astype(np.float32), matrices()[1]
    values[::128] *= 40
    found = best_smoothing(values, largest(values), weights.astype(np.float32), column_maxima(weights))
    assert found.clip < 1
    assert found.error < 0.6 * error_of(values, weights, found.input_scale * np.float32(found.clip))


def test_no_token_hides_behind_a_huge_one() -> None:
    wanted = np.array([[1000.0, 0.0], [0.0, 1.0]], np.float32)
    assert relative_error(wanted * np.float32(0.99), wanted) == pytest.approx(0.01, rel=1e-3)
    wrong_second = np.array([[1000.0, 0.0], [0.0, 0.0]], np.float32)
    assert relative_error(wrong_second, wanted) == pytest.approx(np.sqrt(0.5))


def test_the_reported_error_is_that_of_the_scales() -> None:
    values, weights = matrices(outliers=10)
    found = best_smoothing(values, largest(values), weights.astype(np.float32), column_maxima(weights))
    assert error_of(values, weights, found.input_scale) == pytest.approx(found.error, rel=1e-3)
    assert found.alpha in ALPHAS
    assert found.clip in CLIPS


def test_columns_never_seen_do_no_harm() -> None:
    values, weights = matrices()
    values[:, :3], weights[:, 4] = 0, 0
    found = best_smoothing(values, largest(values), weights.astype(np.float32), column_maxima(weights))
    assert np.isfinite(found.input_scale).all()
    assert (found.input_scale > 0).all()
    assert found.error < 0.02


def test_nothing_but_zeros_is_exact() -> None:
    zeros = np.zeros((2, K), np.float32)
    weights = matrices()[1].astype(np.float32)
    assert best_smoothing(zeros, zeros[0], weights, largest(weights)).error == 0


def test_an_error_that_is_no_number_is_infinite() -> None:
    one, zero = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    assert relative_error(one * np.float32("nan"), one) == np.inf
    assert relative_error(one, zero) == 1
    assert relative_error(zero, zero) == 0
