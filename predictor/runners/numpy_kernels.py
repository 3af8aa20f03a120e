"""Reference implementations, in numpy, of the operations between the matrix products of a step.

Simple rather than fast: the CUDA kernels are compared with them. As there, all arithmetic is float32; only the inputs
and outputs of products and the cached keys and values are narrower. Letters as in :mod:`predictor.batch`, and N
outputs of a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


def layer_norm(values: Float32s, weight: Float32s, epsilon: float) -> Float32s:
    """Norm that subtracts the mean first, without a bias (Ba, Kiros and Hinton, 2016); as :func:`rms_norm` else."""
    return rms_norm(values - values.mean(axis=-1, keepdims=True), weight, epsilon)


def silu_mul(gate_up: Float32s) -> Float32s:
    """silu(gate) * up: [T, 2 I], gates first, to [T, I]."""
    gate, up = np.split(gate_up, 2, axis=-1)
    with np.errstate(over="ignore"):  # exp of a large -gate is inf, and the quotient 0, as it should be
        gated: Float32s = gate / (1 + np.exp(-gate)) * up
    return gated


def gelu_mul(gate_up: Float32s) -> Float32s:
    """gelu(gate) * up with GELU in its tanh form (Hendrycks and Gimpel, 2016): [T, 2 I], gates first, to [T, I]."""
    gate, up = np.split(gate_up, 2, axis=-1)
    inner = np.float32(np.sqrt(2 / np.pi)) * (gate + np.float32(0.044715) * gate**3)
    gated: Float32s = np.float32(0.5) * gate * (1 + np.tanh(inner)) * up
    return gated


def softcap(values: Float32s, cap: float) -> Float32s:
    """Cap * tanh(values / cap); the values themselves if ``cap`` is 0."""
    if not cap:
        return values
    capped: Float32s = np.tanh(values / np.float32(cap)) * np.float32(cap)
    return capped


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


def attend(
    queries: Float32s,
    keys: Floats,
    values: Floats,
    positions: Integers,
    *,
    window: int = 0,
    cap: float = 0.0,
    scale: float = 0.0,
) -> Float32s:
    """Causal scaled dot-product attention of rows of one sequence; groups of heads share keys and values.

    Args:
        queries: [T, H, D], rotated.
        keys: [KV, C, D], rotated; position c of the sequence is at c.
        values: [KV, C, D].
        positions: [T] of the queries; each attends to positions 0 to its own, and C is more than the largest.
        window: number of last positions that are attended to, the own one included; 0: all.
        cap: soft cap of the scores; 0: none.
        scale: factor of the scores; 0: D^-0.5.

    Returns:
        [T, H, D].
    """
    rows, heads, size = queries.shape
    grouped = queries.reshape(rows, len(keys), heads // len(keys), size)
    scores = np.einsum("tkgd,kcd->kgtc", grouped, keys.astype(np.float32), optimize=True)
    seen = np.arange(keys.shape[1])
    visible = seen <= positions[:, None]
    if window:
        visible &= seen > positions[:, None] - window
    scores = np.where(visible, softcap(scores * np.float32(scale or size**-0.5), cap), -np.inf)
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


@dataclass(frozen=True, slots=True)
class LayerRule:
    """What the attention of one layer does."""

    rotary: tuple[Float32s, Float32s] | None
    """Cosines and sines, [at least C, D / 2], by position; None: no rotary embedding."""
    window: int = 0
    """Tokens that are attended to; 0: all."""
    cap: float = 0.0
    """Soft cap of the scores; 0: none."""
    norms: tuple[Float32s, Float32s] | None = None
    """Weights [D] of the norms of queries and keys after the rotary embedding."""
    epsilon: float = 0.0
    """Of these norms."""
    scale: float = 0.0
    """Factor of the scores; 0: D^-0.5."""

    def place(self, heads: Float32s, positions: Integers, part: int) -> Float32s:
        """Rotate, and norm after it where the layer does: [T, any, D]; ``part`` 0 are queries, 1 keys."""
        if self.rotary is not None:
            cosines, sines = self.rotary
            heads = rotate(heads, cosines[positions], sines[positions])
        if self.norms is None:
            return heads
        return rms_norm(heads, self.norms[part], self.epsilon)


class SlotCache:
    """Keys and values of every slot and layer, float16; keys alone where they are the values too."""

    def __init__(self, shape: DecoderShape, *, slots: int, capacity: int, rules: Sequence[LayerRule]) -> None:
        """Reserve ``capacity`` tokens per slot; the system allocates memory when it is written.

        Args:
            shape: of the decoder.
            slots: sequences.
            capacity: C, tokens.
            rules: of each layer.
        """
        self._rules = rules
        sides = (shape.kv_tensors, slots, shape.kv_heads, capacity, shape.head_dim)
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
        """Rotate queries and keys, cache keys and values, then attend, by the rule of the layer.

        Args:
            layer: of the decoder.
            step: the pass whose T rows these are.
            queries: [T, H, D].
            keys: [T, KV, D].
            values: [T, KV, D]; the keys, if these are the values too.

        Returns:
            [T, H, D].
        """
        rule, cache = self._rules[layer], self._layers[layer]
        queries = rule.place(queries, step.positions, 0)
        cache[0, step.slots, :, step.positions] = rule.place(keys, step.positions, 1)
        if len(cache) > 1:
            cache[1, step.slots, :, step.positions] = values
        attended = np.empty_like(queries)
        for rows in _sequences(step):
            slot, positions = step.slots[rows.start], step.positions[rows]
            seen = cache[:, slot, :, : positions[-1] + 1]
            attended[rows] = attend(
                queries[rows],
                seen[0],
                seen[-1],
                positions,
                window=rule.window,
                cap=rule.cap,
                scale=rule.scale,
            )
        return attended


def _sequences(step: StepPass) -> list[slice]:
    """Rows of each sequence in the pass."""
    decodes = [slice(row, row + 1) for row in range(step.decodes)]
    return decodes + [slice(chunk.first_row, chunk.first_row + chunk.count) for chunk in step.chunks]
