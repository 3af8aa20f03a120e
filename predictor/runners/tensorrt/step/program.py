"""The operations of a pass and their order.

Operations work on three implicit buffers: ``act``, the input of the next product; ``y``, the output of a product; and
``residual``, in float32. So a test can replace the device, by recording the operations or by executing them in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PassShape:
    """Sizes of a pass; passes of one shape differ in their packed inputs alone."""

    tokens: int
    """T."""
    decodes: int
    """Rows [0, decodes) are decodes, the rows behind them are prompts'."""
    rows: int
    """R, output rows; 0 where no prompt ends in the pass."""
    gathers: bool
    """Whether the output rows are gathered, not all T rows in order."""


class Operations(Protocol):
    """The operations of a pass on a device. Each call enqueues work and returns.

    H hidden, F heads of queries, keys and values, I the MLP's inner width, V vocabulary.
    """

    def choose_tokens(self, tokens: int) -> None:
        """Token ids: a source's best candidate, or the host's."""
        ...

    def embed_norm(self, tokens: int) -> None:
        """``residual`` [T, H] and, normed for layer 0's attention, ``act`` [T, H] from the token ids."""
        ...

    def linear(self, layer: int, role: str, rows: int) -> None:
        """``y`` = ``act`` times the weight of ``role``: qkv, attention_output, gate_up, down, or vocabulary.

        Args:
            layer: whose weight; the number of layers for vocabulary.
            role: of the weight.
            rows: of ``act``.
        """
        ...

    def write_kv(self, layer: int, first_row: int, rows: int) -> None:
        """Rotate the queries and keys of prompt rows of ``y``; put keys and values into the cache.

        Args:
            layer: whose cache.
            first_row: the first prompt row; decodes stand before it.
            rows: prompt rows.
        """
        ...

    def decode_attention(self, layer: int, rows: int) -> None:
        """Rows [0, rows) of ``act`` [T, heads] from those of ``y``, whose keys and values it caches itself."""
        ...

    def prefill_attention(self, layer: int, first_row: int, rows: int) -> None:
        """Attention of prompt rows: those of ``act`` from those of ``y``, after :meth:`write_kv`.

        Args:
            layer: whose cache.
            first_row: the first prompt row; decodes stand before it.
            rows: prompt rows.
        """
        ...

    def gather_rows(self, rows: int) -> None:
        """Reduce ``act`` and ``residual`` to the R output rows."""
        ...

    def add_norm(self, layer: int, role: str, rows: int) -> None:
        """Add ``y``, of attention_output or down, to ``residual``; ``act`` is the sum, normed for what comes next.

        Args:
            layer: that the product belongs to.
            role: of the product.
            rows: of ``y``.
        """
        ...

    def silu_mul(self, layer: int, rows: int) -> None:
        """``act`` [T, I] = silu(gate) * up of ``y`` [T, 2 I]."""
        ...

    def candidates(self, rows: int) -> None:
        """Best candidates of each row of the logits in ``y`` [R, V], into the step's output."""
        ...


def run_pass(device: Operations, shape: PassShape, layers: int) -> None:
    """Enqueue one pass.

    Args:
        device: takes the operations.
        shape: sizes of the pass.
        layers: of the model.
    """
    device.choose_tokens(shape.tokens)
    device.embed_norm(shape.tokens)
    for layer in range(layers - 1):
        _attend(device, shape, layer)
        _finish_layer(device, layer, shape.tokens)
    if _attend(device, shape, layers - 1, wanted=bool(shape.rows)):
        if shape.gathers:
            device.gather_rows(shape.rows)
        _finish_layer(device, layers - 1, shape.rows)
        device.linear(layers, "vocabulary", shape.rows)
        device.candidates(shape.rows)


def _attend(device: Operations, shape: PassShape, layer: int, *, wanted: bool = True) -> bool:
    """Cache keys and values and, if ``wanted``, attend; returns ``wanted``."""
    prompts = shape.tokens - shape.decodes
    device.linear(layer, "qkv", shape.tokens)
    if prompts:
        device.write_kv(layer, shape.decodes, prompts)
    if wanted and shape.decodes:
        device.decode_attention(layer, shape.decodes)
    if wanted and prompts:
        device.prefill_attention(layer, shape.decodes, prompts)
    return wanted


def _finish_layer(device: Operations, layer: int, rows: int) -> None:
    device.linear(layer, "attention_output", rows)
    device.add_norm(layer, "attention_output", rows)
    device.linear(layer, "gate_up", rows)
    device.silu_mul(layer, rows)
    device.linear(layer, "down", rows)
    device.add_norm(layer, "down", rows)
