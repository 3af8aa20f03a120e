"""Reference implementations, in numpy, of the operations between the matrix products of a step.

Simple rather than fast: the CUDA kernels are compared with them. As there, all arithmetic is float32; only the inputs
and outputs of products and the cached keys and values are narrower. Letters as in :mod:`predictor.batch`, and N
outputs of a product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.runners.segmented import StepPass
from protocol.release import DecoderShape

Float32s = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

INT8_LIMIT = 127
"""Quantized values are symmetric: -128 is not used."""


def quantize(values: Float32s, scale: Float32s | None) -> npt.NDArray[Any]:
    """Quantize the input of a product [T, K]: to int8 with an input ``scale`` [K], to float16 without.

    int8 values are values * scale, rounded half to even and clipped.
    """
    if scale is None:
        return values.astype(np.float16)
    codes: npt.NDArray[np.int8] = np.rint(values * scale).clip(-INT8_LIMIT, INT8_LIMIT).astype(np.int8)
    return codes


def dequantize(product: Floats, scale: Float32s | None, bias: Float32s | None) -> Float32s:
    """Dequantize the output of a product [T, N]: product * scale + bias, float32.

    Args:
        product: [T, N], float16 or float32.
        scale: [N], of an int8 product; None for none.
        bias: [N]; None for none.
    """
    wide = product.astype(np.float32)
    if scale is not None:
        wide = wide * scale
    return wide if bias is None else wide + bias


def rms_norm(values: Float32s, weight: Float32s, epsilon: float) -> Float32s:
    """Root mean square norm over the last axis (Zhang and Sennrich, 2019).

    Args:
        values: [..., N].
        weight: [N].
        epsilon: added to the mean of squares.
    """
    squares = np.square(values).mean(axis=-1, keepdims=True)
    normed: Float32s = values / np.sqrt(squares + np.float32(epsilon)) * weight
    return normed


def silu_mul(gate_up: Float32s) -> Float32s:
    """silu(gate) * up: [T, 2 I], gates first, to [T, I]."""
    gate, up = np.split(gate_up, 2, axis=-1)
    with np.errstate(over="ignore"):  # exp of a large -gate is inf, and the quotient 0, as it should be
        gated: Float32s = gate / (1 + np.exp(-gate)) * up
    return gated


def rotate(heads: Float32s, cosines: Float32s, sines: Float32s) -> Float32s:
    """Apply rotary embedding (Su et al., 2021), the first half of a head paired with the second.

    Args:
        heads: [T, any, D].
        cosines: [T, D / 2], of each row's position.
        sines: [T, D / 2].
    """
    low, high = np.split(heads, 2, axis=-1)
    cosines, sines = cosines[:, None], sines[:, None]
    return np.concatenate((low * cosines - high * sines, high * cosines + low * sines), axis=-1)


def attend(queries: Float32s, keys: Floats, values: Floats, positions: Integers) -> Float32s:
    """Causal scaled dot-product attention of rows of one sequence; groups of heads share keys and values.

    Args:
        queries: [T, H, D], rotated.
        keys: [KV, C, D], rotated; position c of the sequence is at c.
        values: [KV, C, D].
        positions: [T] of the queries; each attends to positions 0 to its own, and C is more than the largest.

    Returns:
        [T, H, D].
    """
    rows, heads, size = queries.shape
    grouped = queries.reshape(rows, len(keys), heads // len(keys), size)
    scores = np.einsum("tkgd,kcd->kgtc", grouped, keys.astype(np.float32), optimize=True)
    visible = np.arange(keys.shape[1]) <= positions[:, None]
    scores = np.where(visible, scores / np.sqrt(np.float32(size)), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    attended: Float32s = np.einsum("kgtc,kcd->tkgd", weights, values.astype(np.float32), optimize=True)
    return attended.reshape(queries.shape)


def best_candidates(logits: Float32s, count: int) -> tuple[npt.NDArray[np.int32], Float32s]:
    """The ``count`` most likely tokens of each row, best first, the lower id first among equals.

    Args:
        logits: [R, V].
        count: K, at most V.

    Returns:
        Ids [R, K], and their log-softmax over all of V [R, K].

    Raises:
        FloatingPointError: a row's largest value is not finite, so it has no best token.
    """
    best = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(best).all():
        raise FloatingPointError("logits are not finite: the model's activations do not fit float16")
    ids = np.empty((len(logits), count), np.int32)
    for row, values in enumerate(logits):
        least = np.partition(values, -count)[-count]
        rivals = np.flatnonzero(values >= least)
        ids[row] = rivals[np.argsort(-values[rivals], kind="stable")][:count]
    total = np.log(np.exp(logits - best).sum(axis=-1, keepdims=True))
    return ids, np.take_along_axis(logits, ids, axis=-1) - best - total


class SlotCache:
    """Keys and values of every slot and layer, float16."""

    def __init__(
        self, shape: DecoderShape, *, slots: int, capacity: int, cosines: Float32s, sines: Float32s
    ) -> None:
        """Reserve ``capacity`` tokens per slot; the system allocates memory when it is written.

        Args:
            shape: of the decoder.
            slots: sequences.
            capacity: C, tokens.
            cosines: [at least C, D / 2], by position.
            sines: as the cosines.
        """
        self._cosines, self._sines = cosines, sines
        sides = (2, slots, shape.kv_heads, capacity, shape.head_dim)
        self._layers = [np.zeros(sides, np.float16) for _ in range(shape.layers)]

    @property
    def slots(self) -> int:
        """Sequences."""
        return int(self._layers[0].shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def bytes_per_token(self) -> int:
        """Of one sequence, over all layers."""
        return sum(layer[:, 0, :, 0].nbytes for layer in self._layers)

    def attend(
        self, layer: int, step: StepPass, queries: Float32s, keys: Float32s, values: Float32s
    ) -> Float32s:
        """Rotate queries and keys, cache keys and values, then attend.

        Args:
            layer: of the decoder.
            step: the pass whose T rows these are.
            queries: [T, H, D].
            keys: [T, KV, D].
            values: [T, KV, D].

        Returns:
            [T, H, D].
        """
        cosines, sines = self._cosines[step.positions], self._sines[step.positions]
        queries = rotate(queries, cosines, sines)
        cache = self._layers[layer]
        cache[0, step.slots, :, step.positions] = rotate(keys, cosines, sines)
        cache[1, step.slots, :, step.positions] = values
        attended = np.empty_like(queries)
        for rows in _sequences(step):
            slot, positions = step.slots[rows.start], step.positions[rows]
            seen_keys, seen_values = cache[:, slot, :, : positions[-1] + 1]
            attended[rows] = attend(queries[rows], seen_keys, seen_values, positions)
        return attended


def _sequences(step: StepPass) -> list[slice]:
    """Rows of each sequence in the pass."""
    decodes = [slice(row, row + 1) for row in range(step.decodes)]
    return decodes + [slice(chunk.first_row, chunk.first_row + chunk.count) for chunk in step.chunks]
