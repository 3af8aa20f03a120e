"""Block quantization that makes up for the error of each column in the columns behind it.

A plainly rounded matrix W is as near to the original as its codes allow, but what counts are its products with real
inputs x. With H the mean of x x^T and H = (U + 1) D (U + 1)^T, U strictly upper triangular and D diagonal, rounding
the columns in order, each one behind

    w_k + sum over j < k of (w_j - rounded w_j) U_jk,

leaves the product an error of sum_k D_k e_k^2, where e_k is the error of rounding alone. This is LDLQ (Chee et al.,
"QuIP", 2023, https://arxiv.org/abs/2307.13304), which the same paper proves to give the codes of GPTQ (Frantar et
al., 2022, https://arxiv.org/abs/2210.17323) without an inverse. Rows are independent. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictor.builder.weights.block_quantize import (
    Codes,
    Float32Array,
    QuantFormat,
    block_scales,
    packed_codes,
    rounded_codes,
)

DAMPING = 0.01
"""Share of the mean of H's diagonal that is added to it: inputs that were not seen count as well. GPTQ's value."""
SHRINKS = np.linspace(1.0, 0.7, 7, dtype=np.float32)
"""Scales that are tried for a block, as shares of the one that clips nothing."""


@dataclass(frozen=True, slots=True)
class ErrorFeedback:
    """What the inputs of a matrix with K columns say about its rounding."""

    upper: Float32Array
    """U, [K, K]."""
    weights: Float32Array
    """D, [K]: how much the error of each column counts."""


def error_feedback(inputs: Float32Array) -> ErrorFeedback:
    """Factor the second moments of inputs [T, K].

    Raises:
        numpy.linalg.LinAlgError: they are not finite.
    """
    moments = inputs.T @ inputs / np.float32(len(inputs))
    diagonal = np.einsum("ii->i", moments)
    diagonal += DAMPING * (diagonal.mean() or np.float32(1))
    # The Cholesky factor of the matrix with rows and columns reversed is upper triangular when reversed back.
    factor = np.linalg.cholesky(moments[::-1, ::-1])[::-1, ::-1]
    spread = np.diagonal(factor).copy()
    upper = np.triu(factor / spread, 1)
    return ErrorFeedback(np.ascontiguousarray(upper), spread**2)


def quantize_with_feedback(
    rows: Float32Array, form: QuantFormat, feedback: ErrorFeedback
) -> tuple[Codes, Float32Array]:
    """As :func:`predictor.builder.weights.block_quantize.quantize_rows`, with the errors made up for.

    Args:
        rows: float32 [N, K].
        form: of the quantization.
        feedback: of the matrix.

    Returns:
        Codes, uint8 [N, blocks, block_bytes], and scales, float32 [N, blocks].
    """
    count, width = rows.shape
    blocks = form.blocks(width)
    # Columns are taken one by one, so they are kept as rows here.
    columns = np.ascontiguousarray(rows.T)
    errors = np.zeros_like(columns)
    codes = np.full((count, blocks, form.block), form.zero_point, np.uint8)
    scales = np.zeros((blocks, count), np.float32)
    for number in range(blocks):
        start, stop = number * form.block, min(width, (number + 1) * form.block)
        upper = feedback.upper[start:stop, start:stop]
        inner = np.linalg.inv(upper + np.eye(stop - start, dtype=np.float32))
        # What each column of the block is going to be if no column of it before is rounded: scales are for these.
        wanted = columns[start:stop] + inner.T @ (feedback.upper[:start, start:stop].T @ errors[:start])
        scales[number] = _best_scales(wanted, form, feedback.weights[start:stop])
        for place, column in enumerate(range(start, stop)):
            code = rounded_codes(wanted[place], scales[number], form)
            codes[:, number, place] = code
            rounded = (code.astype(np.float32) - form.zero_point) * scales[number]
            errors[column] = columns[column] - rounded
            wanted[place + 1 :] -= np.outer(inner[place, place + 1 :], wanted[place] - rounded)
    return packed_codes(codes, form), np.ascontiguousarray(scales.T)


def _best_scales(wanted: Float32Array, form: QuantFormat, weights: Float32Array) -> Float32Array:
    """The scale of each row's block, [N], under which rounding its values [block, N] costs least."""
    whole = block_scales(wanted.T, form)
    best, least = whole, np.full(whole.shape, np.inf, np.float32)
    for shrink in SHRINKS:
        scales = whole * shrink
        rounded = (rounded_codes(wanted, scales, form).astype(np.float32) - form.zero_point) * scales
        cost = weights @ np.square(wanted - rounded)
        best, least = np.where(cost < least, scales, best), np.minimum(cost, least)
    return best
