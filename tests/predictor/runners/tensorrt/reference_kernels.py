"""What the CUDA kernels compute, in numpy: slow, plain, and in float64 where it matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.runners import numpy_kernels
from predictor.runners.tensorrt.kernels.shape import KernelShape

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Cache:
    """K/V of one layer: float16 [slots, kv_heads, capacity, head_dim] each."""

    keys: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Heads:
    """As attention wants them, rounded to float16 as the kernels do: [T, heads or kv_heads, head_dim]."""

    queries: Array
    keys: Array
    values: Array


def turned_heads(
    shape: KernelShape, qkv: Array, norms: tuple[Array, Array] | None, epsilon: float, cos: Array, sin: Array
) -> Heads:
    """Split a product's values, norm and turn queries and keys.

    Args:
        shape: of the model.
        qkv: float32 [T, (heads + 2 kv_heads) head_dim].
        norms: weights [head_dim] of the queries' and the keys'.
        epsilon: of the norms.
        cos: [T, head_dim / 2], of each row's position.
        sin: the same.
    """
    heads = qkv.reshape(len(qkv), -1, shape.head_dim)
    queries, keys, values = np.split(heads, [shape.heads, shape.heads + shape.kv_heads], axis=1)
    if norms is not None:
        queries, keys = (
            numpy_kernels.rms_norm(part, norm, epsilon)
            for part, norm in zip((queries, keys), norms, strict=True)
        )
    queries, keys = (numpy_kernels.rotate(part, cos, sin).astype(np.float16) for part in (queries, keys))
    return Heads(queries, keys, values.astype(np.float16))


def write_kv(heads: Heads, cache: Cache, slots: Array, positions: Array) -> None:
    """Write keys and values; rows of negative slots are left out."""
    used = np.flatnonzero(slots >= 0)
    at = (slots[used], slice(None), positions[used])
    cache.keys[at] = heads.keys[used]
    cache.values[at] = heads.values[used]


def attend(shape: KernelShape, query: Array, cache: Cache, slot: int, position: int) -> Array:
    """Attention of a turned query [heads, head_dim] to positions 0 to ``position`` of a slot: [heads * head_dim]."""
    keys = np.repeat(cache.keys[slot, :, : position + 1].astype(np.float64), shape.group, axis=0)
    values = np.repeat(cache.values[slot, :, : position + 1].astype(np.float64), shape.group, axis=0)
    scores = np.einsum("hd,htd->ht", query.astype(np.float64), keys) / np.sqrt(shape.head_dim)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended: Array = np.einsum("ht,htd->hd", weights, values)
    return attended.reshape(-1)


def attend_rows(shape: KernelShape, heads: Heads, cache: Cache, slots: Array, positions: Array) -> Array:
    """Attention of rows whose keys are in the cache: float64 [T, heads * head_dim]; zeros for padding."""
    out = np.zeros((len(slots), shape.heads * shape.head_dim))
    for row, (slot, position) in enumerate(zip(slots.tolist(), positions.tolist(), strict=True)):
        if slot >= 0:
            out[row] = attend(shape, heads.queries[row], cache, slot, position)
    return out


def choose_tokens(previous_ids: Array, sources: Array, host_tokens: Array) -> Array:
    return np.where(sources >= 0, previous_ids[np.maximum(sources, 0), 0], host_tokens)


def gather_rows(rows: Array, array: Array) -> Array:
    return np.where(rows[:, None] >= 0, array[np.maximum(rows, 0)], array.dtype.type(0))


def candidates(logits: Array, count: int) -> tuple[Array, Array]:
    """Ids and log-softmax of the best ``count`` logits of each row, ties by lower id, NaN last."""
    ids = np.argsort(-logits, axis=-1, kind="stable")[:, :count]
    wide = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        highest = np.nanmax(wide, axis=-1, keepdims=True)
        logprobs = wide - highest - np.log(np.exp(wide - highest).sum(-1, keepdims=True))
    return ids.astype(np.int32), np.take_along_axis(logprobs, ids, -1)


def rotary_tables(positions: int, head_dim: int) -> tuple[Array, Array]:
    """cos and sin, float32 [positions, head_dim / 2]."""
    angles = np.outer(np.arange(positions), 10000.0 ** (-np.arange(0, head_dim, 2) / head_dim))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def relative_error(out: Array, reference: Array) -> float:
    """Of float arrays, as ‖out - reference‖ / ‖reference‖; infinite where an output is not a number."""
    reference = reference.astype(np.float64)
    difference = out.astype(np.float64) - reference
    if not np.isfinite(difference).all():
        return float("inf")
    return float(np.linalg.norm(difference) / max(np.linalg.norm(reference), 1e-30))
