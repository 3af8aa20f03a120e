"""int8 form of a float16 matrix product: scales, codes, and the error. Pure numpy.

``y = x W^T`` with x [T, K] and W [N, K] becomes::

    codes_x = clamp(rint(x * input_scale), -127, 127)       input_scale float32 [K]
    codes_w = rint(W / input_scale / row_step)              row_step [N] = largest |W / input_scale| of a row / 127
    y       = (codes_x codes_w^T) * 2^-12 * output_scale    output_scale float32 [N] = row_step * 2^12

``input_scale`` combines two factors. The first moves magnitude from large columns of x to those of W, which keeps the
product and makes x easier to round (SmoothQuant: Xiao et al., 2023): column j of x is divided by ``max|x_j|^alpha /
max|W_j|^(1 - alpha)``. The second is the static quantization step of x. ``alpha`` and the magnitude at which x is
clipped are chosen by the least error on real inputs: the inputs of an MLP's second matrix have tails too heavy for a
rule over their moments.

Inputs are collected by :mod:`predictor.builder.int8.calibrate`; the matrices are chosen by
:mod:`predictor.builder.int8.quantize`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.segment_index import INT8_STEP

Float32s = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]
Matrix = npt.NDArray[Any]

LIMIT = 127
"""Codes are symmetric: -128 is not used."""
PRODUCT_STEP = np.float32(INT8_STEP)
ALPHAS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
CLIPS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.12)
"""Shares of the largest smoothed input at which x is clipped."""
SMALLEST_SHARE = 1e-4
"""Share of the largest column that smaller columns are raised to: calibration saw too little of them."""


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Quantization parameters of the inputs of a matrix."""

    alpha: float
    clip: float
    input_scale: Float32s
    error: float
    """Of the product, see :func:`relative_error`."""


def column_maxima(weights: Matrix) -> Float32s:
    """Largest magnitude of each column, float32 [K], of weights [N, K] in float16 or float32."""
    if weights.dtype == np.float16:
        # Without the sign bit, float16 numbers are ordered like their bits as integers, which numpy compares faster.
        bits = np.bitwise_and(weights.view(np.uint16), np.uint16(0x7FFF)).max(axis=0)
        halves: Float32s = bits.view(np.float16).astype(np.float32)
        return halves
    maxima: Float32s = np.abs(weights).max(axis=0).astype(np.float32)
    return maxima


def smoothing_factors(inputs: Float32s, weights: Float32s, alpha: float) -> Float32s:
    """Factors by which columns of x are divided and columns of W are multiplied.

    Args:
        inputs: largest magnitude of each column of x, [K].
        weights: largest magnitude of each column of W, [K].
        alpha: 0 leaves the inputs' magnitudes, 1 moves them to the weights completely.

    Returns:
        float32 [K], positive.
    """
    factors = _floored(inputs) ** alpha / _floored(weights) ** (1 - alpha)
    return factors.astype(np.float32)


def input_scale(largest: Float32s, factors: Float32s) -> Float32s:
    """The scale that maps the largest smoothed input to the largest code.

    Args:
        largest: magnitude of each column, [K].
        factors: of :func:`smoothing_factors`, [K].

    Returns:
        float32 [K]; divided by a share below 1, it clips inputs at that share of the largest.
    """
    step = float((largest / factors).max()) / LIMIT or 1.0  # all inputs were 0
    scale: Float32s = (1 / (factors.astype(np.float64) * step)).astype(np.float32)
    return scale


def quantize_inputs(values: Float32s, scale: Float32s) -> Codes:
    """Codes int8 [T, K] of x [T, K]."""
    codes: Codes = np.clip(np.rint(values * scale), -LIMIT, LIMIT).astype(np.int8)
    return codes


def quantize_weights(weights: Matrix, scale: Float32s) -> tuple[Codes, Float32s]:
    """Codes int8 [N, K] and output scale float32 [N] of W [N, K], whose inputs have ``scale`` [K].

    Rows are independent, so W may be quantized in slices of rows. A row with NaN or infinity gets an output scale
    that is not finite, and meaningless codes.
    """
    smoothed = np.asarray(weights).astype(np.float32)
    smoothed /= scale
    steps = np.maximum(smoothed.max(axis=1), -smoothed.min(axis=1)) / np.float32(LIMIT)
    with np.errstate(invalid="ignore"):
        smoothed /= np.where(steps > 0, steps, np.float32(1))[:, None]
        codes = np.rint(smoothed, out=smoothed).astype(np.int8)
    return codes, steps / PRODUCT_STEP


def int8_product(codes: Codes, weights: Codes, output_scale: Float32s) -> Float32s:
    """The product as the graph and the kernel compute it.

    Args:
        codes: of the inputs, int8 [T, K].
        weights: codes of the weights, int8 [N, K].
        output_scale: float32 [N].

    Returns:
        float32 [T, N].

    Sums of codes are exact in float32 up to 2^24, and rounded to it beyond, as an int32 is when it is converted.
    """
    sums = codes.astype(np.float32) @ weights.astype(np.float32).T
    product: Float32s = sums * PRODUCT_STEP * output_scale
    return product


def relative_error(found: Float32s, wanted: Float32s) -> float:
    """Relative error of rows [T, N]: the root mean square over rows of |found - wanted| / |wanted|.

    Relative to each row, because a decoder normalizes rows: otherwise one token with huge inputs, often the first of
    a text, would hide the errors of all others. For a row of zeros the error is 0 or 1. Infinite if a value is not
    finite.
    """
    sizes = np.linalg.norm(wanted.astype(np.float64), axis=1)
    errors = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    shares = np.where(sizes > 0, errors / np.where(sizes > 0, sizes, 1), errors > 0)
    error = float(np.sqrt(np.mean(np.square(shares))))
    return error if np.isfinite(error) else float("inf")


def best_smoothing(values: Float32s, largest: Float32s, weights: Float32s, columns: Float32s) -> Smoothing:
    """Try all pairs of alpha and clip, and return the one with the least error.

    Args:
        values: sampled inputs, [T, K].
        largest: largest magnitude of each column over all inputs, [K].
        weights: sampled rows of W, [n, K]; rows are quantized independently.
        columns: largest magnitude of each column of the whole W, [K].
    """
    wanted = values @ weights.T
    best: Smoothing | None = None
    for alpha in ALPHAS:
        whole = input_scale(largest, smoothing_factors(largest, columns, alpha))
        codes, output_scale = quantize_weights(weights, whole)
        scales = [whole / np.float32(clip) for clip in CLIPS]  # the codes of the weights stay the same
        # One product for all clips: BLAS runs one product at a time, so threads wait for each other at every one.
        inputs = np.concatenate([quantize_inputs(values, scale) for scale in scales])
        products = np.split(int8_product(inputs, codes, output_scale), len(CLIPS))
        for clip, scale, product in zip(CLIPS, scales, products, strict=True):
            error = relative_error(product * np.float32(clip), wanted)
            if best is None or error < best.error:
                best = Smoothing(alpha, clip, scale, error)
    if best is None:
        raise AssertionError("ALPHAS and CLIPS are empty")
    return best


def _floored(maxima: Float32s) -> npt.NDArray[np.float64]:
    """float64, with each column raised to :data:`SMALLEST_SHARE` of the largest, and none 0."""
    wide = maxima.astype(np.float64)
    floor = float(wide.max(initial=0)) * SMALLEST_SHARE
    floored: npt.NDArray[np.float64] = np.maximum(wide, floor if floor > 0 else 1.0)
    return floored
