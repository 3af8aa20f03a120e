"""Operands that matrix products and our kernels exchange, in float16 or int8.

A kernel handles both: a scale means int8. All addresses are of device memory; 0 means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """The output of a matrix product, [rows, N]; its value is y * scale + bias."""

    y: int
    """float16, or float32 where there is a scale."""
    scale: int = 0
    """float32 [N], of an int8 product."""
    bias: int = 0
    """float32 [N]."""


@dataclass(frozen=True, slots=True)
class Activation:
    """The input of a matrix product, [rows, K]."""

    address: int
    """float16, or int8 where there is a scale."""
    scale: int = 0
    """float32 [K]: stored is value * scale, rounded half to even and clipped to ±127."""


@dataclass(frozen=True, slots=True)
class Qkv:
    """The product of queries, keys and values, in this order, and the norms over each head."""

    product: Product
    q_norm: int = 0
    """Weights, float32 [D]; both norms or none."""
    k_norm: int = 0


@dataclass(frozen=True, slots=True)
class Rotary:
    """Tables of the rotary embedding, float32 [positions, D / 2]."""

    cos: int
    sin: int


@dataclass(frozen=True, slots=True)
class KvCache:
    """One layer's keys and values, float16 [slots, kv_heads, capacity, D] each."""

    keys: int
    values: int
