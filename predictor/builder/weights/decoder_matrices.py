"""Which checkpoint tensors make up each matrix of the decoder, and in which precision it is stored.

Matrices that are multiplied with the same input are concatenated by rows. All graphs of a release ask here, so they
share one weight file. Names in ``weights.bin`` are listed in :mod:`predictor.segment_index`; names in the checkpoint
are Hugging Face's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from predictor.builder.checkpoint.packed import KEPT_BLOCKS
from predictor.builder.checkpoint.rope import Rope, rotary_tables
from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.errors import BrokenCheckpoint, PrecisionUnavailable, UnsupportedModel
from predictor.builder.families.architecture import Architecture
from predictor.builder.weights.block_quantize import QuantFormat
from predictor.builder.weights.file_layout import UNCHANGED, Adjustment, WeightFileLayout, WeightTensor
from predictor.segment_index import LOCAL_ROTARY, ROTARY

EMBEDDING = "embed_tokens.weight"
"""Behind the family's prefix."""
VOCABULARY = "lm_head.weight"
_NORMS = {
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
}
"""Names in the checkpoint of Llama's and Qwen's norms; :attr:`Family.names` has those of others."""


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

    @property
    def block(self) -> int | None:
        """Neighbours of a layer's matrix that share a scale; None where nothing is quantized."""
        return None if self.linear is None else self.linear.block

    @property
    def bits(self) -> tuple[int, ...]:
        """Sizes of the codes in it."""
        return tuple(form.bits for form in (self.linear, self.vocabulary) if form is not None)


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32", None, None),
        Precision("float16", None, None, dense="float16"),
        Precision("int8", QuantFormat(8, 128), QuantFormat(8, 128)),
        Precision("int4", QuantFormat(4, 32), QuantFormat(8, 128)),
    )
}
"""Measured with ONNX Runtime 1.32 on two cores: with 8 bits, blocks of 128 are fastest, and blocks of 32
a fifth slower and half as far from float32 (docs/releases.md); with 4 bits, blocks of 32 have a fifth less error
than those of 128, at some cost in speed. The vocabulary, on which every token depends directly, keeps 8 bits."""

_SMALLEST_BLOCK = KEPT_BLOCKS[0]


def choose_precision(name: str, block: int | None = None) -> Precision:
    """A precision, with another block size if one is given.

    Args:
        name: of :data:`PRECISIONS`.
        block: of all quantized matrices, one of :data:`predictor.builder.checkpoint.packed.KEPT_BLOCKS`.

    Raises:
        PrecisionUnavailable: the precision has no blocks, or there are none of that size.
    """
    precision = PRECISIONS[name]
    if block is None:
        return precision
    if precision.linear is None or precision.vocabulary is None:
        raise PrecisionUnavailable(
            f"{name} is stored without blocks: --block-size is for int8 and int4 weights"
        )
    if block not in KEPT_BLOCKS:
        raise PrecisionUnavailable(f"--block-size {block} is none of {', '.join(map(str, KEPT_BLOCKS))}")
    linear, vocabulary = (replace(form, block=block) for form in (precision.linear, precision.vocabulary))
    return replace(precision, linear=linear, vocabulary=vocabulary)


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
    zero_points: WeightTensor | None = None
    """Of blocks that have their own."""


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
        self._family, self._details = architecture.definition, architecture.details
        found = (prefix for prefix in self._family.prefixes if f"{prefix}{EMBEDDING}" in checkpoint.tensors)
        self._prefix = next(found, self._family.prefixes[0])

    @property
    def plan(self) -> WeightFileLayout:
        """The layout that matrices are added to."""
        return self._plan

    @property
    def precision(self) -> Precision:
        """How matrices are stored."""
        return self._precision

    @property
    def prefix(self) -> str:
        """What stands before the names of the decoder's tensors in the checkpoint."""
        return self._prefix

    def embedding(self) -> Matrix:
        """[vocab, hidden]; the vocabulary matrix too where they are tied."""
        scale = Adjustment(self._details.embedding_scale)
        return self._vocabulary_matrix("embedding", f"{self._prefix}{EMBEDDING}", scale)

    def vocabulary(self) -> Matrix:
        """[vocab, hidden] of the projection onto the vocabulary."""
        if self._architecture.tied:
            return self.embedding()
        return self._vocabulary_matrix("vocabulary", VOCABULARY, UNCHANGED)

    def qkv(self, layer: int) -> Matrix:
        """[(heads + 2 kv_heads) head_dim, hidden]: queries, keys, values below each other."""
        size = self._shape.head_dim
        rows = (self._shape.heads * size, self._shape.kv_heads * size, self._shape.kv_heads * size)
        parts = [f"self_attn.{part}_proj" for part in "qkv"]
        bias, hidden = self._architecture.qkv_bias, self._shape.hidden
        if self._family.packed:
            return self.matrix(
                layer, "attention.qkv", ["self_attn.qkv_proj"], [sum(rows)], hidden, biased=bias
            )
        # Norms of queries undo a factor before them, and take it instead.
        scale = 1.0 if self._family.qk_norm else self._details.query_scale
        pairs = size if self._family.interleaved_rotary else 0
        adjustments = (Adjustment(scale, interleaved=pairs), Adjustment(interleaved=pairs), UNCHANGED)
        return self.matrix(layer, "attention.qkv", parts, rows, hidden, biased=bias, adjustments=adjustments)

    def attention_output(self, layer: int) -> Matrix:
        """[hidden, heads head_dim]; with latent attention, as many columns as the heads' values."""
        latent = self._details.latent
        size = self._shape.head_dim if latent is None else latent.value
        return self.matrix(
            layer,
            "attention.output",
            ["self_attn.o_proj"],
            [self._shape.hidden],
            self._shape.heads * size,
            biased=self._architecture.output_bias,
            adjustments=[Adjustment(self._details.residual_scale)],
        )

    def gate_up(self, layer: int) -> Matrix:
        """[2 intermediate, hidden]: gate above up."""
        parts, rows = ["mlp.gate_proj", "mlp.up_proj"], [self._shape.intermediate] * 2
        if self._family.packed:
            parts, rows = ["mlp.gate_up_proj"], [2 * self._shape.intermediate]
        return self.matrix(
            layer, "mlp.gate_up", parts, rows, self._shape.hidden, biased=self._architecture.mlp_bias
        )

    def down(self, layer: int) -> Matrix:
        """[hidden, intermediate]."""
        return self.matrix(
            layer,
            "mlp.down",
            ["mlp.down_proj"],
            [self._shape.hidden],
            self._shape.intermediate,
            biased=self._architecture.mlp_bias,
            adjustments=[Adjustment(self._details.residual_scale)],
        )

    def attention_norm(self, layer: int) -> WeightTensor | None:
        """float32 [hidden], before attention; None if the family has none there."""
        return self._layer_norm(layer, "attention.norm", "attention_norm", self._family.pre_norms)

    def mlp_norm(self, layer: int) -> WeightTensor | None:
        """float32 [hidden], before the MLP; None if the family has none there."""
        exists = self._family.pre_norms and not self._family.parallel
        return self._layer_norm(layer, "mlp.norm", "mlp_norm", exists)

    def attention_post_norm(self, layer: int) -> WeightTensor | None:
        """float32 [hidden], after attention; None if the family has none there."""
        return self._layer_norm(layer, "attention.post_norm", "attention_post_norm", self._family.post_norms)

    def mlp_post_norm(self, layer: int) -> WeightTensor | None:
        """float32 [hidden], after the MLP; None if the family has none there."""
        return self._layer_norm(layer, "mlp.post_norm", "mlp_post_norm", self._family.post_norms)

    def head_norm(self, layer: int, part: str) -> WeightTensor:
        """float32, of the queries (``q``) or keys (``k``): [head_dim], or of all heads at once."""
        heads = self._shape.heads if part == "q" else self._shape.kv_heads
        size = self._shape.head_dim * (heads if self._family.wide_qk_norm else 1)
        scale = self._details.query_scale if part == "q" else 1.0
        source = self._source(layer, self._name_of(f"{part}_norm"))
        return self._norm(f"layers.{layer}.attention.{part}_norm", source, size, scale)

    def final_norm(self) -> WeightTensor:
        """float32 [hidden], before the vocabulary."""
        details = self._details
        tied = details.embedding_scale if self._architecture.tied else 1.0
        return self._norm("norm", f"{self._prefix}norm", self._shape.hidden, details.logits_scale / tied)

    def rotary(self, positions: int) -> tuple[WeightTensor, WeightTensor]:
        """Cosines and sines, float32 [positions, head_dim / 2] each."""
        return self._rotary(self._architecture.rope, ROTARY, positions)

    def local_rotary(self, positions: int) -> tuple[WeightTensor, WeightTensor]:
        """The same for local layers."""
        rope = self._details.local_rope or self._architecture.rope
        return self._rotary(rope, LOCAL_ROTARY, positions)

    def matrix(
        self,
        layer: int,
        name: str,
        parts: Sequence[str],
        rows: Sequence[int],
        columns: int,
        *,
        biased: bool = False,
        adjustments: Sequence[Adjustment] = (),
    ) -> Matrix:
        """Matrices of a layer below each other.

        Args:
            layer: number of the layer.
            name: in the file, within the layer.
            parts: names in the checkpoint, within the layer.
            rows: of each of them.
            columns: of all of them.
            biased: whether they have biases.
            adjustments: of each of them; empty: none is changed.
        """
        sources = [self._source(layer, part) for part in parts]
        full, form = f"layers.{layer}.{name}", self._precision.linear
        weights, shapes = [f"{source}.weight" for source in sources], [(count, columns) for count in rows]
        bias = None
        if biased:
            biases = [f"{source}.bias" for source in sources]
            sizes = [(count,) for count in rows]
            bias = self._plan.dense(f"{full}.bias", biases, sizes, adjustments=adjustments)
        if form is None:
            dense = self._plan.dense(full, weights, shapes, self._precision.dense, adjustments)
            return Matrix(sum(rows), columns, dense, bias=bias)
        return self._quantized(full, weights, shapes, self._kept(weights, form), adjustments, bias)

    def _rotary(
        self, rope: Rope, names: tuple[str, str], positions: int
    ) -> tuple[WeightTensor, WeightTensor]:
        latent = self._details.latent
        size = self._shape.head_dim if latent is None else latent.rotated
        cosines, sines = rotary_tables(rope, head_dim=size, positions=positions)
        return self._plan.table(names[0], cosines), self._plan.table(names[1], sines)

    def check_all_used(self) -> None:
        """Refuse a checkpoint with tensors that no graph uses: config.json does not describe the whole model.

        Raises:
            BrokenCheckpoint: there is such a tensor, or a tied checkpoint has a vocabulary matrix of its own.
        """
        unused = {
            name
            for name in self._checkpoint.tensors
            if not name.endswith("rotary_emb.inv_freq")  # a buffer that older checkpoints saved
            and not self._is_empty_bias(name)
            and not name.startswith((*self._family.ignored, *self._layers_behind()))
        } - self._plan.used_sources()
        if self._architecture.tied and VOCABULARY in unused:
            self._check_same(f"{self._prefix}{EMBEDDING}", VOCABULARY)
            unused.discard(VOCABULARY)
        if unused:
            raise BrokenCheckpoint(
                f"{self._checkpoint.directory}: {len(unused)} tensors have no place in a "
                f"{self._architecture.family} with this config.json, e.g. {min(unused)}"
            )

    def _layers_behind(self) -> tuple[str, ...]:
        """Beginnings of names of the layers behind the last one, which the family leaves out."""
        layers = self._shape.layers
        return tuple(
            f"{self._prefix}layers.{layer}." for layer in range(layers, layers + self._details.extra_layers)
        )

    def _is_empty_bias(self, name: str) -> bool:
        """Whether it is a bias of zeros, which AutoGPTQ writes beside each matrix that it quantizes."""
        module, _, part = name.rpartition(".")
        if part != "bias" or f"{module}.weight" not in self._checkpoint.packed:
            return False
        return not any(values.any() for values in self._checkpoint.rows(name))

    def _check_same(self, first: str, second: str) -> None:
        self._checkpoint.entry(second, (self._shape.vocab, self._shape.hidden))
        pairs = zip(self._checkpoint.rows(first), self._checkpoint.rows(second), strict=True)
        if not all((a == b).all() for a, b in pairs):
            raise BrokenCheckpoint(
                f"{self._checkpoint.directory}: tie_word_embeddings is true, but {second} differs from {first}"
            )

    def _source(self, layer: int, part: str) -> str:
        return f"{self._prefix}layers.{layer}.{part}"

    def _name_of(self, norm: str) -> str:
        return self._family.names.get(norm) or _NORMS[norm]

    def _layer_norm(self, layer: int, name: str, norm: str, exists: bool) -> WeightTensor | None:
        if not exists:
            return None
        source = self._source(layer, self._name_of(norm))
        return self._norm(f"layers.{layer}.{name}", source, self._shape.hidden)

    def _norm(self, name: str, source: str, size: int, scale: float = 1.0) -> WeightTensor:
        adjustment = Adjustment(scale, 1.0 if self._family.one_plus_norms else 0.0)
        return self._plan.dense(name, [f"{source}.weight"], [(size,)], adjustments=[adjustment])

    def _vocabulary_matrix(self, name: str, source: str, adjustment: Adjustment) -> Matrix:
        rows, columns = self._shape.vocab, self._shape.hidden
        form = self._precision.vocabulary
        if form is None:
            dense = self._plan.dense(name, [source], [(rows, columns)], self._precision.dense, [adjustment])
            return Matrix(rows, columns, dense)
        block = math.gcd(columns, form.block)
        if block < _SMALLEST_BLOCK:
            raise UnsupportedModel(
                f"config.json: hidden_size is {columns}; "
                f"{self._precision.name} supports multiples of {_SMALLEST_BLOCK}"
            )
        form = QuantFormat(form.bits, block)
        kept = self._plan.kept_form([source])
        if source == VOCABULARY and kept is not None and kept.bits in self._precision.bits:
            form = kept
        return self._quantized(name, [source], [(rows, columns)], form, [adjustment])

    def _kept(self, sources: Sequence[str], form: QuantFormat) -> QuantFormat:
        """The form of the checkpoint's own codes, if they have as many bits as ``form``; else ``form``."""
        kept = self._plan.kept_form(sources)
        return form if kept is None or kept.bits != form.bits else kept

    def _quantized(
        self,
        name: str,
        sources: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        form: QuantFormat,
        adjustments: Sequence[Adjustment],
        bias: WeightTensor | None = None,
    ) -> Matrix:
        codes, scales, *zero_points = self._plan.quantized(name, sources, shapes, form, adjustments)
        rows, columns = sum(shape[0] for shape in shapes), shapes[0][1]
        return Matrix(rows, columns, codes, scales, form, bias, next(iter(zero_points), None))
