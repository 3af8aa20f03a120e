"""Which checkpoint tensors make up each matrix of the decoder, and in which precision it is stored.

Matrices that are multiplied with the same input are concatenated by rows. All graphs of a release ask here, so they
share one weight file. Names in ``weights.bin`` are listed in :mod:`predictor.segment_index`; names in the checkpoint
are Hugging Face's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from predictor.builder.checkpoint.architecture import Architecture
from predictor.builder.checkpoint.rope import rotary_tables
from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from predictor.builder.weights.block_quantize import QuantFormat
from predictor.builder.weights.file_layout import WeightFileLayout, WeightTensor

EMBEDDING = "model.embed_tokens.weight"
VOCABULARY = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Precision:
    """How the matrices of a release are stored; norms, biases and rotary tables are always float32."""

    name: str
    linear: QuantFormat | None
    """Of the layers' matrices; None stores them as ``dense``."""
    vocabulary: QuantFormat | None
    """Of embedding and vocabulary projection; the block is reduced to a divisor of the row, as a gather needs."""
    dense: str = "float32"
    """Type, as numpy names it, of matrices that are not quantized."""


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32", None, None),
        Precision("float16", None, None, dense="float16"),
        Precision("int8", QuantFormat(8, 128), QuantFormat(8, 128)),
        Precision("int4", QuantFormat(4, 32), QuantFormat(8, 128)),
    )
}
"""Measured with ONNX Runtime 1.32 on two cores: with 8 bits, blocks of 128 are fastest, and
their error is close to that of smaller ones; with 4 bits, blocks of 32 have a fifth less error than blocks of 128, at
some cost in speed. The vocabulary, on which every token depends directly, keeps 8 bits."""

_SMALLEST_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Matrix:
    """A stored matrix W [rows, columns] of the product y = x W^T, with x [..., columns]."""

    rows: int
    columns: int
    values: WeightTensor
    """float32 or float16 [rows, columns], or the codes."""
    scales: WeightTensor | None = None
    form: QuantFormat | None = None
    bias: WeightTensor | None = None
    """float32 [rows]."""


class DecoderMatrices:
    """Adds the matrices of one decoder to a :class:`WeightFileLayout`."""

    def __init__(
        self, plan: WeightFileLayout, checkpoint: Checkpoint, architecture: Architecture, precision: Precision
    ) -> None:
        self._plan = plan
        self._checkpoint = checkpoint
        self._architecture = architecture
        self._shape = architecture.shape
        self._precision = precision

    def embedding(self) -> Matrix:
        """[vocab, hidden]; the vocabulary matrix too where they are tied."""
        return self._vocabulary_matrix("embedding", EMBEDDING)

    def vocabulary(self) -> Matrix:
        """[vocab, hidden] of the projection onto the vocabulary."""
        if self._architecture.tied:
            return self.embedding()
        return self._vocabulary_matrix("vocabulary", VOCABULARY)

    def qkv(self, layer: int) -> Matrix:
        """[(heads + 2 kv_heads) head_dim, hidden]: queries, keys, values below each other."""
        size = self._shape.head_dim
        rows = (self._shape.heads * size, self._shape.kv_heads * size, self._shape.kv_heads * size)
        parts = [f"self_attn.{part}_proj" for part in "qkv"]
        return self._matrix(
            layer, "attention.qkv", parts, rows, self._shape.hidden, self._architecture.qkv_bias
        )

    def attention_output(self, layer: int) -> Matrix:
        """[hidden, heads head_dim]."""
        columns = self._shape.heads * self._shape.head_dim
        bias = self._architecture.output_bias
        return self._matrix(
            layer, "attention.output", ["self_attn.o_proj"], [self._shape.hidden], columns, bias
        )

    def gate_up(self, layer: int) -> Matrix:
        """[2 intermediate, hidden]: gate above up."""
        parts, rows = ["mlp.gate_proj", "mlp.up_proj"], [self._shape.intermediate] * 2
        return self._matrix(
            layer, "mlp.gate_up", parts, rows, self._shape.hidden, self._architecture.mlp_bias
        )

    def down(self, layer: int) -> Matrix:
        """[hidden, intermediate]."""
        columns, bias = self._shape.intermediate, self._architecture.mlp_bias
        return self._matrix(layer, "mlp.down", ["mlp.down_proj"], [self._shape.hidden], columns, bias)

    def attention_norm(self, layer: int) -> WeightTensor:
        """float32 [hidden], before attention."""
        return self._norm(
            f"layers.{layer}.attention.norm", f"model.layers.{layer}.input_layernorm", self._shape.hidden
        )

    def mlp_norm(self, layer: int) -> WeightTensor:
        """float32 [hidden], before the MLP."""
        source = f"model.layers.{layer}.post_attention_layernorm"
        return self._norm(f"layers.{layer}.mlp.norm", source, self._shape.hidden)

    def head_norm(self, layer: int, part: str) -> WeightTensor:
        """float32 [head_dim], of the queries (``q``) or keys (``k``)."""
        source = f"model.layers.{layer}.self_attn.{part}_norm"
        return self._norm(f"layers.{layer}.attention.{part}_norm", source, self._shape.head_dim)

    def final_norm(self) -> WeightTensor:
        """float32 [hidden], before the vocabulary."""
        return self._norm("norm", "model.norm", self._shape.hidden)

    def rotary(self, positions: int) -> tuple[WeightTensor, WeightTensor]:
        """Cosines and sines, float32 [positions, head_dim / 2] each."""
        cosines, sines = rotary_tables(
            self._architecture.rope, head_dim=self._shape.head_dim, positions=positions
        )
        return self._plan.table("rotary.cos", cosines), self._plan.table("rotary.sin", sines)

    def check_all_used(self) -> None:
        """Refuse a checkpoint with tensors that no graph uses: config.json does not describe the whole model.

        Raises:
            BrokenCheckpoint: there is such a tensor, or a tied checkpoint has a vocabulary matrix of its own.
        """
        unused = {
            name
            for name in self._checkpoint.tensors
            if not name.endswith("rotary_emb.inv_freq")  # a buffer that older checkpoints saved
        } - self._plan.used_sources()
        if self._architecture.tied and VOCABULARY in unused:
            self._check_same(EMBEDDING, VOCABULARY)
            unused.discard(VOCABULARY)
        if unused:
            raise BrokenCheckpoint(
                f"{self._checkpoint.directory}: {len(unused)} tensors have no place in a "
                f"{self._architecture.family} with this config.json, e.g. {min(unused)}"
            )

    def _check_same(self, first: str, second: str) -> None:
        self._checkpoint.entry(second, (self._shape.vocab, self._shape.hidden))
        pairs = zip(self._checkpoint.rows(first), self._checkpoint.rows(second), strict=True)
        if not all((a == b).all() for a, b in pairs):
            raise BrokenCheckpoint(
                f"{self._checkpoint.directory}: tie_word_embeddings is true, but {second} differs from {first}"
            )

    def _norm(self, name: str, source: str, size: int) -> WeightTensor:
        return self._plan.dense(name, [f"{source}.weight"], [(size,)])

    def _vocabulary_matrix(self, name: str, source: str) -> Matrix:
        rows, columns = self._shape.vocab, self._shape.hidden
        form = self._precision.vocabulary
        if form is None:
            dense = self._plan.dense(name, [source], [(rows, columns)], self._precision.dense)
            return Matrix(rows, columns, dense)
        block = math.gcd(columns, form.block)
        if block < _SMALLEST_BLOCK:
            raise UnsupportedModel(
                f"config.json: hidden_size is {columns}; "
                f"{self._precision.name} supports multiples of {_SMALLEST_BLOCK}"
            )
        form = QuantFormat(form.bits, block)
        codes, scales = self._plan.quantized(name, [source], [(rows, columns)], form)
        return Matrix(rows, columns, codes, scales, form)

    def _matrix(
        self, layer: int, name: str, parts: Sequence[str], rows: Sequence[int], columns: int, biased: bool
    ) -> Matrix:
        sources = [f"model.layers.{layer}.{part}" for part in parts]
        full, form = f"layers.{layer}.{name}", self._precision.linear
        weights, shapes = [f"{source}.weight" for source in sources], [(count, columns) for count in rows]
        bias = None
        if biased:
            biases = [f"{source}.bias" for source in sources]
            bias = self._plan.dense(f"{full}.bias", biases, [(count,) for count in rows])
        if form is None:
            dense = self._plan.dense(full, weights, shapes, self._precision.dense)
            return Matrix(sum(rows), columns, dense, bias=bias)
        codes, scales = self._plan.quantized(full, weights, shapes, form)
        return Matrix(sum(rows), columns, codes, scales, form, bias)
