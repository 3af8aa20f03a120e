"""Tables of the rotary position embedding; each supported scaling of the angles gives another table.

Follows Hugging Face's float32 arithmetic step by step, so that long positions agree too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's scaling: long wavelengths are divided by ``factor``, short ones kept, a ramp between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (Peng et al., 2023): slow angles are divided by ``factor``, fast ones kept, a ramp between."""

    factor: float
    original_max_position_embeddings: int
    table_factor: float
    """Factor of cosines and sines."""
    beta_fast: float = 32.0
    """Rotations within the original length from which an angle is fast."""
    beta_slow: float = 1.0
    """Rotations below which it is slow."""
    truncate: bool = True
    """Whether the ends of the ramp are whole numbers."""


@dataclass(frozen=True, slots=True)
class Rope:
    """Parameters of a model's rotary embedding."""

    theta: float
    linear_factor: float = 1.0
    """Every angle is divided by this (rope type ``linear``); 1 for the others."""
    llama3: Llama3Scaling | None = None
    yarn: YarnScaling | None = None


def rotary_tables(rope: Rope, *, head_dim: int, positions: int) -> tuple[Float32Array, Float32Array]:
    """Cosines and sines of the angles ``position * inverse frequency``.

    Args:
        rope: the model's parameters.
        head_dim: of the attention heads.
        positions: length of the tables.

    Returns:
        Two arrays, float32 [positions, head_dim / 2].
    """
    frequencies = inverse_frequencies(rope, head_dim)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)  # float32 as in Hugging Face
    factor = 1.0 if rope.yarn is None else rope.yarn.table_factor
    cosines, sines = np.cos(angles, dtype=np.float64) * factor, np.sin(angles, dtype=np.float64) * factor
    return cosines.astype(np.float32), sines.astype(np.float32)


def inverse_frequencies(rope: Rope, head_dim: int) -> Float32Array:
    """Angles per position, float32 [head_dim / 2]."""
    exponents = np.arange(0, head_dim, 2, dtype=np.int64).astype(np.float32) / np.float32(head_dim)
    plain = (np.float32(1.0) / np.power(np.float32(rope.theta), exponents)).astype(np.float32)
    scaled = (plain / np.float32(rope.linear_factor)).astype(np.float32)
    if rope.yarn is not None:
        return _yarn_frequencies(scaled, rope.yarn, rope.theta)
    return scaled if rope.llama3 is None else _llama3_frequencies(scaled, rope.llama3)


def _yarn_frequencies(plain: Float32Array, scaling: YarnScaling, theta: float) -> Float32Array:
    """``_compute_yarn_parameters`` in Hugging Face transformers."""
    count = len(plain)

    def place(rotations: float) -> float:
        turns = scaling.original_max_position_embeddings / (rotations * 2 * math.pi)
        return count * math.log(turns) / math.log(theta)

    low, high = place(scaling.beta_fast), place(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * count - 1)
    high += 0.001 if low == high else 0
    ramp = np.clip((np.arange(count, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    blended: Float32Array = plain / np.float32(scaling.factor) * ramp + plain * (1 - ramp)
    return blended.astype(np.float32)


def _llama3_frequencies(plain: Float32Array, scaling: Llama3Scaling) -> Float32Array:
    """The formula of Llama 3.1 (``_compute_llama3_parameters`` in Hugging Face transformers)."""
    context = scaling.original_max_position_embeddings
    wavelengths = np.float32(2 * math.pi) / plain
    slowed = plain / np.float32(scaling.factor)
    ramp = (np.float32(context) / wavelengths - np.float32(scaling.low_freq_factor)) / np.float32(
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blended = (1 - ramp) * slowed + ramp * plain
    frequencies = np.where(wavelengths > context / scaling.low_freq_factor, slowed, blended)
    return np.where(wavelengths < context / scaling.high_freq_factor, plain, frequencies).astype(np.float32)
