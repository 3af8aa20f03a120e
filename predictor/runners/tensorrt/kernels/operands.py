"""What passes between matrix products and our kernels, in both precisions.

One kernel serves both: it finds out from the scales. All addresses are of device memory; 0 means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """What a matrix product gave: [rows, N]. With its scale and bias, value = y scale + bias."""

    y: int
    """float16, or float32 where there is a scale."""
    scale: int = 0
    """float32 [N], of an int8 product."""
    bias: int = 0
    """float32 [N]."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What a matrix product takes: [rows, K]."""

    address: int
    """float16, or int8 where there is a scale."""
    scale: int = 0
    """float32 [K]: a value times its scale, rounded half to even and held within ±127, is what is stored."""


@dataclass(frozen=True, slots=True)
class Qkv:
    """The product that gives heads of queries, keys and values, in this order, and the norms over a head."""

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
