from __future__ import annotations

import numpy as np
import pytest

from predictor.builder.weights import error_feedback as module
from predictor.builder.weights.block_quantize import QuantFormat, block_scales, dequantize_rows, quantize_rows
from predictor.builder.weights.error_feedback import DAMPING, error_feedback, quantize_with_feedback

FORM = QuantFormat(4, 32)


def inputs(tokens: int, width: int) -> np.ndarray:
    """Correlated inputs, some columns much larger than others, as a decoder's are."""
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(tokens, width // 4)) @ rng.normal(size=(width // 4, width))
    scaled: np.ndarray = (mixed + rng.normal(size=mixed.shape)) * np.exp(rng.normal(0, 1.5, width))
    return scaled.astype(np.float32)


def weights(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(rows, width)).astype(np.float32)


def damped_moments(values: np.ndarray) -> np.ndarray:
    moments = values.astype(np.float64).T @ values / len(values)
    damped: np.ndarray = moments + DAMPING * np.diagonal(moments).mean() * np.eye(len(moments))
    return damped


def test_the_factors_give_the_second_moments_back() -> None:
    values = inputs(300, 64)
    found = error_feedback(values)
    whole = found.upper.astype(np.float64) + np.eye(64)
    assert not np.tril(found.upper).any()
    wanted = damped_moments(values)
    np.testing.assert_allclose((whole * found.weights) @ whole.T, wanted, atol=1e-4 * np.abs(wanted).max())


def test_the_error_of_products_is_smaller_than_that_of_rounding() -> None:
    values, matrix = inputs(600, 200), weights(40, 200)
    plain = dequantize_rows(*quantize_rows(matrix, FORM), FORM, 200)
    made_up = dequantize_rows(*quantize_with_feedback(matrix, FORM, error_feedback(values)), FORM, 200)

    def error(found: np.ndarray) -> float:
        return float(np.square((found - matrix) @ values.T).mean())

    assert error(made_up) < 0.4 * error(plain)


def gptq(matrix: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Algorithm 1 of the paper on GPTQ, with a scale per block taken when the block is reached."""
    inverse = np.linalg.cholesky(np.linalg.inv(moments)).T
    left, rounded = matrix.astype(np.float64), np.zeros(matrix.shape)
    for column in range(matrix.shape[1]):
        if column % FORM.block == 0:
            scales = block_scales(left[:, column : column + FORM.block].astype(np.float32), FORM)
        codes = np.clip(np.rint(left[:, column] / scales), -8, 7)
        rounded[:, column] = codes * scales
        error = (left[:, column] - rounded[:, column]) / inverse[column, column]
        left[:, column:] -= np.outer(error, inverse[column, column:])
    return rounded


def test_the_codes_are_those_of_gptq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHRINKS", np.ones(1, np.float32))
    values, matrix = inputs(600, 96), weights(30, 96)
    found = dequantize_rows(*quantize_with_feedback(matrix, FORM, error_feedback(values)), FORM, 96)
    # A value half way between two codes may be rounded to either by float32.
    assert np.isclose(found, gptq(matrix, damped_moments(values)), atol=1e-3).mean() > 0.99


@pytest.mark.parametrize("width", [96, 70, 20])
def test_rows_are_independent_and_need_not_fill_their_last_block(width: int) -> None:
    feedback, matrix = error_feedback(inputs(300, width)), weights(9, width)
    codes, scales = quantize_with_feedback(matrix, FORM, feedback)
    assert (codes.shape, scales.shape) == ((9, FORM.blocks(width), 16), (9, FORM.blocks(width)))
    upper, lower = (quantize_with_feedback(part, FORM, feedback) for part in (matrix[:4], matrix[4:]))
    back = dequantize_rows(codes, scales, FORM, width)
    parts = [dequantize_rows(*part, FORM, width) for part in (upper, lower)]
    np.testing.assert_allclose(np.concatenate(parts), back, atol=0.3)
    assert np.abs(back - matrix).max() < 1.5


def test_inputs_that_are_all_zero_give_plain_rounding() -> None:
    feedback = error_feedback(np.zeros((5, 64), np.float32))
    codes, scales = quantize_with_feedback(weights(3, 64), FORM, feedback)
    assert not feedback.upper.any()
    assert np.abs(dequantize_rows(codes, scales, FORM, 64) - weights(3, 64)).max() < 0.5
