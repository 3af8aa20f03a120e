from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.builder.weights.block_quantize import QuantFormat, dequantize_rows, quantize_rows

FORMATS = [QuantFormat(8, 128), QuantFormat(8, 32), QuantFormat(4, 32), QuantFormat(4, 64)]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_every_value_is_off_by_at_most_half_a_step(form: QuantFormat) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 256)).astype(np.float32)
    codes, scales = quantize_rows(rows, form)
    error = np.abs(dequantize_rows(codes, scales, form, 256) - rows).reshape(9, -1, form.block)
    steps = np.abs(scales)[..., None]
    # of 4 bits, the far side of zero has one code less: its outermost values may be off by a whole step
    assert (error <= steps * (0.5 if form.bits == 8 else 1.0) + 1e-6).all()


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_zeros_stay_zero(form: QuantFormat) -> None:
    codes, scales = quantize_rows(np.zeros((2, form.block * 2), np.float32), form)
    assert not dequantize_rows(codes, scales, form, form.block * 2).any()


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_row_that_does_not_fill_its_last_block_is_padded(form: QuantFormat) -> None:
    rows = np.random.default_rng(0).normal(size=(3, form.block + 5)).astype(np.float32)
    codes, scales = quantize_rows(rows, form)
    assert codes.shape == (3, 2, form.block_bytes)
    assert scales.shape == (3, 2)
    assert dequantize_rows(codes, scales, form, form.block + 5).shape == rows.shape


@pytest.mark.parametrize("form", FORMATS, ids=str)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40))
def test_any_finite_row_survives(form: QuantFormat, values: list[float]) -> None:
    rows = np.array([values], np.float32)
    back = dequantize_rows(*quantize_rows(rows, form), form, len(values))
    assert np.isfinite(back).all()
    largest = np.abs(rows).max()
    assert (np.abs(back - rows) <= max(largest * 0.13, 1e-35)).all()


def test_largest_magnitude_of_four_bits_is_exact() -> None:
    rows = np.array([[0.5, -2.0] + [0.0] * 30, [0.5, 2.0] + [0.0] * 30], np.float32)
    back = dequantize_rows(*quantize_rows(rows, QuantFormat(4, 32)), QuantFormat(4, 32), 32)
    assert back[0, 1] == -2.0
    assert back[1, 1] == 2.0
