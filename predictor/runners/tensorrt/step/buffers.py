"""Sizes and addresses of the device buffers of a step, weights and K/V cache not included.

Letters as in :mod:`predictor.runners.tensorrt.step.program`. One allocation holds all buffers, each at a multiple of
256 bytes, as TensorRT requires.
"""

from __future__ import annotations

from collections.abc import Mapping

from predictor.runners.tensorrt.step.inputs import InputLayout
from protocol.release import DecoderShape

ALIGNMENT = 256

Sizes = Mapping[str, int]
"""Bytes by name."""


def buffer_sizes(
    shape: DecoderShape, layout: InputLayout, *, slots: int, candidates: int, float32_products: bool
) -> dict[str, int]:
    """Sizes of the buffers for every pass within ``layout``'s bounds, bytes.

    Args:
        shape: of the decoder.
        layout: of the inputs, with the most tokens and output rows of a pass.
        slots: the most output rows of a step.
        candidates: K.
        float32_products: whether some products are float32, as int8 ones are.

    Returns:
        inputs      the numbers that the host sends
        token_ids   int32 [T]
        act, gathered_act          float16 or int8 [T or R, widest input of a product]
        y                          float16 or float32 [T, widest output] or [R, V]
        residual, gathered_residual  float32 [T or R, H]
        outputs     int32 [slots, K] ids, then float32 [slots, K] log-probabilities
        saved_ids   int32 [slots, K], ids of the step before
    """
    tokens, rows = layout.max_tokens, layout.max_rows
    heads = shape.heads * shape.head_dim
    width_in = max(shape.hidden, heads, shape.intermediate)
    width_out = max(heads + 2 * shape.kv_heads * shape.head_dim, 2 * shape.intermediate, shape.hidden)
    product_bytes = 4 if float32_products else 2
    return {
        "inputs": 4 * layout.size,
        "token_ids": 4 * tokens,
        "act": 2 * tokens * width_in,
        "y": product_bytes * max(tokens * width_out, rows * shape.vocab),
        "residual": 4 * tokens * shape.hidden,
        "gathered_act": 2 * rows * width_in,
        "gathered_residual": 4 * rows * shape.hidden,
        "outputs": 8 * slots * candidates,
        "saved_ids": 4 * slots * candidates,
    }


def total_bytes(sizes: Sizes) -> int:
    """Bytes of the allocation that holds all parts."""
    return sum(_align(nbytes) for nbytes in sizes.values())


def assign_addresses(sizes: Sizes, base: int) -> dict[str, int]:
    """Address of each part in an allocation at ``base``."""
    addresses = {}
    for name, nbytes in sizes.items():
        addresses[name] = base
        base += _align(nbytes)
    return addresses


def _align(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
