"""Sizes of a decoder in parameters and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.release import DecoderShape

BYTES_PER_WEIGHT: Mapping[str, float] = {"float32": 4.0, "float16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}
"""Bytes of a parameter of the layers and of the output projection, by precision. The scales of int8 add less than a
thousandth. The embedding table stays in 16 bits."""
KV_VALUE_BYTES = 2
"""Bytes of one number in the K/V cache, whatever the precision of the weights."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder.

    Norms and biases are left out of all counts: they are less than a thousandth.
    """

    name: str
    decoder: DecoderShape
    tied: bool
    """Whether the output projection uses the embedding table."""

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers' matrices."""
        d = self.decoder
        attention = d.hidden * d.head_dim * (2 * d.heads + 2 * d.kv_heads)
        return d.layers * (attention + 3 * d.hidden * d.intermediate)

    @property
    def vocabulary_parameters(self) -> int:
        """Parameters of the output projection; the embedding table has as many."""
        return self.decoder.vocab * self.decoder.hidden

    @property
    def parameters(self) -> int:
        """Parameters that a checkpoint stores."""
        return self.layer_parameters + self.vocabulary_parameters * (1 if self.tied else 2)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token in the K/V cache, over all layers."""
        return self.decoder.kv_values_per_token * KV_VALUE_BYTES

    def read_bytes(self, precision: str) -> int:
        """Bytes of the weights that every step reads: all but the embedding table."""
        return int((self.layer_parameters + self.vocabulary_parameters) * BYTES_PER_WEIGHT[precision])

    def weight_bytes(self, precision: str) -> int:
        """Bytes of the weights in memory: those that a step reads, and the embedding table in 16 bits.

        The table is stored once if it is tied and the weights have 16 bits too.
        """
        if self.tied and BYTES_PER_WEIGHT[precision] == 2.0:
            return self.read_bytes(precision)
        return self.read_bytes(precision) + 2 * self.vocabulary_parameters
