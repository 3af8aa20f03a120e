"""A float16 matrix product as one of int8: scales, codes, and the error that it makes. Pure numpy.

``y = x W^T`` with x [T, K] and W [N, K] becomes::

    codes_x = clamp(rint(x * input_scale), -127, 127)       input_scale float32 [K]
    codes_w = rint(W / input_scale / row_step)              row_step [N] = largest |W / input_scale| of a row / 127
    y       = (codes_x codes_w^T) * 2^-12 * output_scale    output_scale float32 [N] = row_step * 2^12

``input_scale`` does two things. It moves magnitude from columns of x that are large to those of W, which leaves
the product as it is and x easier to round (SmoothQuant: Xiao et al., 2023): column j of x is divided by
``max|x_j|^alpha / max|W_j|^(1 - alpha)``. And it holds the one step of all of x, a static one. How far x may be cut
off for that step to be small, and alpha, are those with the least error on inputs that were really seen: the inputs
of an MLP's second matrix have tails so heavy that no rule over their moments finds a good place.

Who sees inputs: :mod:`predictor.builder.int8.calibrate`. Who decides which matrices take part:
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
"""Of the largest smoothed input: where x is cut off."""
SMALLEST_SHARE = 1e-4
"""Of the largest column: one below it counts as if it were so large, since too little was seen of it."""


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How the inputs of a matrix become codes."""

    alpha: float
    clip: float
    input_scale: Float32s
    error: float
    """Of the product, see :func:`relative_error`."""


def column_maxima(weights: Matrix) -> Float32s:
    """Largest magnitude of each column, float32 [K], of weights [N, K] in float16 or float32."""
    if weights.dtype == np.float16:
        # Without their sign, halves order as the integers of their bits do, and numpy is much faster with those.
        bits = np.bitwise_and(weights.view(np.uint16), np.uint16(0x7FFF)).max(axis=0)
        halves: Float32s = bits.view(np.float16).astype(np.float32)
        return halves
    maxima: Float32s = np.abs(weights).max(axis=0).astype(np.float32)
    return maxima


def smoothing_factors(inputs: Float32s, weights: Float32s, alpha: float) -> Float32s:
    """What each column of x is divided by, and of W multiplied with.

    Args:
        inputs: largest magnitude of each column of x, [K].
        weights: largest magnitude of each column of W, [K].
        alpha: 0 leaves the inputs' magnitudes where they are, 1 moves all of them to the weights.

    Returns:
        float32 [K], positive.
    """
    factors = _floored(inputs) ** alpha / _floored(weights) ** (1 - alpha)
    return factors.astype(np.float32)


def input_scale(largest: Float32s, factors: Float32s) -> Float32s:
    """The scale that gives the largest smoothed input the largest code.

    Args:
        largest: magnitude of each column, [K].
        factors: of :func:`smoothing_factors`, [K].

    Returns:
        float32 [K]; divided by a number below 1, inputs are cut off at that share of the largest.
    """
    step = float((largest / factors).max()) / LIMIT or 1.0  # nothing but zeros was seen
    scale: Float32s = (1 / (factors.astype(np.float64) * step)).astype(np.float32)
    return scale


def quantize_inputs(values: Float32s, scale: Float32s) -> Codes:
    """Codes int8 [T, K] of x [T, K]."""
    codes: Codes = np.clip(np.rint(values * scale), -LIMIT, LIMIT).astype(np.int8)
    return codes


def quantize_weights(weights: Matrix, scale: Float32s) -> tuple[Codes, Float32s]:
    """Codes int8 [N, K] and output scale float32 [N] of W [N, K], whose inputs have ``scale`` [K].

    Rows are independent: any slice of rows gives that slice of the result. A row that holds something that is not
    finite has an output scale that is not either, and no meaningful codes.
    """
    smoothed = np.asarray(weights).astype(np.float32)
    smoothed /= scale
    steps = np.maximum(smoothed.max(axis=1), -smoothed.min(axis=1)) / np.float32(LIMIT)
    with np.errstate(invalid="ignore"):
        smoothed /= np.where(steps > 0, steps, np.float32(1))[:, None]
        codes = np.rint(smoothed, out=smoothed).astype(np.int8)
    return codes, steps / PRODUCT_STEP


def int8_product(codes: Codes, weights: Codes, output_scale: Float32s) -> Float32s:
    """What the graph and the kernel behind it make of codes [T, K] and [N, K]: float32 [T, N].

    Sums of codes are exact in float32 up to 2^24, and rounded to it beyond, as an int32 is when it is converted.
    """
    sums = codes.astype(np.float32) @ weights.astype(np.float32).T
    product: Float32s = sums * PRODUCT_STEP * output_scale
    return product


def relative_error(found: Float32s, wanted: Float32s) -> float:
    """How far rows [T, N] are from what they should be, relative to their size: the root mean square over rows.

    Row by row, because a decoder norms them: one token with huge inputs, as the first of a text often is, would
    otherwise hide what happens to all others. A row that should be 0 counts as exact or as 1. Infinite where
    something is not finite.
    """
    sizes = np.linalg.norm(wanted.astype(np.float64), axis=1)
    errors = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    shares = np.where(sizes > 0, errors / np.where(sizes > 0, sizes, 1), errors > 0)
    error = float(np.sqrt(np.mean(np.square(shares))))
    return error if np.isfinite(error) else float("inf")


def best_smoothing(values: Float32s, largest: Float32s, weights: Float32s, columns: Float32s) -> Smoothing:
    """Try every alpha with every clip, and take the pair with the least error.

    Args:
        values: inputs that were seen, [T, K].
        largest: largest magnitude of each column over all inputs that were seen, [K].
        weights: rows of W to measure with, [n, K]: rows are quantized one by one, so some stand for all.
        columns: largest magnitude of each column of the whole W, [K].
    """
    wanted = values @ weights.T
    best: Smoothing | None = None
    for alpha in ALPHAS:
        whole = input_scale(largest, smoothing_factors(largest, columns, alpha))
        codes, output_scale = quantize_weights(weights, whole)
        scales = [whole / np.float32(clip) for clip in CLIPS]  # which changes no code of the weights
        # One product for all: threads that smooth wait for each other at every one, since BLAS takes one at a time.
        inputs = np.concatenate([quantize_inputs(values, scale) for scale in scales])
        products = np.split(int8_product(inputs, codes, output_scale), len(CLIPS))
        for clip, scale, product in zip(CLIPS, scales, products, strict=True):
            error = relative_error(product * np.float32(clip), wanted)
            if best is None or error < best.error:
                best = Smoothing(alpha, clip, scale, error)
    if best is None:
        raise AssertionError("there is nothing to choose from")
    return best


def _floored(maxima: Float32s) -> npt.NDArray[np.float64]:
    """float64, no column below its share of the largest, and none 0."""
    wide = maxima.astype(np.float64)
    floor = float(wide.max(initial=0)) * SMALLEST_SHARE
    floored: npt.NDArray[np.float64] = np.maximum(wide, floor if floor > 0 else 1.0)
    return floored
