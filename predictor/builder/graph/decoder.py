"""``decoder.onnx``: one step of the whole decoder for ONNX Runtime, prefill and decode in one graph.

Inputs and outputs (B rows, S padded prompt length and 1 in decode, C row capacity, K candidates)::

    in   input_ids int64 [B, S]
         seqlens_k int32 [B]               valid tokens of the row after this step, less one
         total_sequence_length int32 []    most valid tokens of a row after this step
         last_token int64 [B]              index along S of the row's last valid token
         past_key.i, past_value.i          float32 [B, kv_heads, C, head_dim]; one buffer where keys are the values
    out  candidate_ids int32 [B, K], candidate_logprobs float32 [B, K]   best first
         present_key.i, present_value.i    to be bound to the buffers of the past

Prefill starts every row at position 0; prompts are padded on the right to the length of the longest one. The
operators are in :mod:`predictor.builder.graph.ops`, the weights in :mod:`predictor.builder.weights.decoder_matrices`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from predictor.builder.families.architecture import Architecture
from predictor.builder.graph import ops
from predictor.builder.graph.latent import LatentEmitter
from predictor.builder.graph.mixture import MixtureEmitter
from predictor.builder.graph.onnx_graph import GraphBuilder
from predictor.builder.weights.decoder_matrices import DecoderMatrices, Matrix
from predictor.builder.weights.file_layout import WeightTensor
from predictor.builder.weights.latent_matrices import latent_matrices
from predictor.builder.weights.mixture_matrices import MixtureMatrices
from predictor.segment_traits import GLOBAL, LOCAL
from protocol.release import WEIGHTS_FILE

INT8_PRODUCTS = 4
"""``accuracy_level`` of com.microsoft MatMulNBits: activations are rounded to int8, each block by its own scale."""
FLOAT_PRODUCTS = 1
"""The same: activations stay float32."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """Parameters of the graph besides the architecture."""

    positions: int
    """Rows of the rotary tables: the longest sequence, and the largest capacity C."""
    candidates: int
    """K."""
    accuracy_level: int = INT8_PRODUCTS
    """Of quantized products: :data:`INT8_PRODUCTS` or :data:`FLOAT_PRODUCTS`."""


def emit_decoder(architecture: Architecture, weights: DecoderMatrices, options: StepOptions) -> GraphBuilder:
    """The graph of the decoder step; adds its tensors to the layout behind ``weights``.

    Args:
        architecture: of the decoder.
        weights: its matrices.
        options: further parameters.
    """
    graph = GraphBuilder("decoder", weights_file=WEIGHTS_FILE)
    return _DecoderStep(graph, architecture, weights, options).emit()


class _DecoderStep:
    """Emits one graph."""

    def __init__(
        self, graph: GraphBuilder, architecture: Architecture, weights: DecoderMatrices, options: StepOptions
    ) -> None:
        self._graph = graph
        self._architecture = architecture
        self._shape = architecture.shape
        self._weights = weights
        self._options = options
        self._mixtures = MixtureMatrices(weights, architecture)
        self._positions = ""
        """Name of the tokens' positions, where queries and keys are rotated before attention."""
        self._latent: LatentEmitter | None = None

    def emit(self) -> GraphBuilder:
        graph, weights, traits = self._graph, self._weights, self._architecture.traits
        token_ids = graph.input("input_ids", "int64", ("batch", "sequence"))
        step = ops.CacheStep(
            seqlens_k=graph.input("seqlens_k", "int32", ("batch",)),
            total_sequence_length=graph.input("total_sequence_length", "int32", ()),
        )
        rotary = self._rotary_tables()
        if traits.norm_after_rotary or traits.latent is not None:
            self._positions = ops.row_positions(graph, token_ids, step.seqlens_k)
        if traits.latent is not None:
            level = self._options.accuracy_level
            self._latent = LatentEmitter(graph, self._shape, traits.latent, token_ids, accuracy_level=level)
        last = graph.node(
            "Unsqueeze", [graph.input("last_token", "int64", ("batch",)), graph.ints(-1)], "last"
        )
        normed = residual = ops.embed(graph, weights.embedding(), token_ids)
        if (first := weights.attention_norm(0)) is not None:
            normed = ops.norm(
                graph,
                first,
                residual,
                "layers.0.normed",
                epsilon=traits.norm_eps,
                centered=traits.centered_norms,
            )
        for layer in range(self._shape.layers):
            attended = self._attend(layer, normed, step, rotary)
            if layer + 1 == self._shape.layers:
                # Behind the last attention tokens are independent, and only each row's last one is needed.
                attended = ops.last_tokens(graph, attended, last, "last.attended")
                residual = ops.last_tokens(graph, residual, last, "last.residual")
                if traits.parallel:
                    normed = ops.last_tokens(graph, normed, last, "last.normed")
            step_on = self._beside if traits.parallel else self._feed_forward
            normed, residual = step_on(layer, attended, normed, residual)
        logits = self._linear(weights.vocabulary(), normed, "logits")
        if traits.logits_softcap:
            logits = ops.softcapped(graph, logits, traits.logits_softcap, "logits.capped")
        ops.best_candidates(graph, logits, self._options.candidates)
        return graph

    def _rotary_tables(self) -> dict[str, tuple[str, str]]:
        """Names of cosines and sines by kind of layer."""
        graph, positions = self._graph, self._options.positions
        cosines, sines = self._weights.rotary(positions)
        tables = {GLOBAL: (graph.stored(cosines), graph.stored(sines))}
        if LOCAL in self._architecture.traits.layers:
            cosines, sines = self._weights.local_rotary(positions)
            tables[LOCAL] = (graph.stored(cosines), graph.stored(sines))
        return tables

    def _attend(
        self, layer: int, normed: str, step: ops.CacheStep, rotary: Mapping[str, tuple[str, str]]
    ) -> str:
        """Attention without its output projection: [B, S, H] -> [B, S, heads * head_dim]."""
        graph, name, traits = self._graph, f"layers.{layer}.attention", self._architecture.traits
        kind = traits.kind(layer)
        if self._latent is not None and traits.latent is not None:
            weights = latent_matrices(self._weights, self._architecture, traits.latent, layer)
            return self._latent.emit(weights, normed, layer, step, (self._positions, rotary[kind]))
        attention = ops.LayerAttention(
            rotary=None if traits.norm_after_rotary else rotary.get(kind),
            window=traits.window if kind == LOCAL else 0,
            softcap=traits.attention_softcap,
        )
        packed = self._linear(self._weights.qkv(layer), normed, f"{name}.qkv.out")
        if not traits.qk_norm:
            return ops.attention(graph, self._shape, (packed, "", ""), layer, step, attention)
        queries, keys, values = ops.split_qkv(graph, self._shape, packed, name)
        if traits.norm_after_rotary:
            queries, keys = (
                ops.rotated(graph, value, self._positions, rotary[kind], f"{value}.rotated")
                for value in (queries, keys)
            )
        queries, keys = (
            self._head_norm(layer, part, value, f"{name}.{part}.normed")
            for part, value in (("q", queries), ("k", keys))
        )
        return ops.attention(graph, self._shape, (queries, keys, values), layer, step, attention)

    def _head_norm(self, layer: int, part: str, value: str, output: str) -> str:
        """Norm of queries or keys, of each head or of all heads at once."""
        weight, epsilon = self._weights.head_norm(layer, part), self._architecture.norm_eps
        if self._architecture.traits.wide_qk_norm:
            return ops.norm(self._graph, weight, value, output, epsilon=epsilon)
        head_dim = self._shape.head_dim
        return ops.head_norm(self._graph, weight, value, output, head_dim=head_dim, epsilon=epsilon)

    def _beside(self, layer: int, attended: str, normed: str, residual: str) -> tuple[str, str]:
        """Output projection and MLP, which reads what attention read, and the norm after them."""
        name = f"layers.{layer}"
        projected = self._linear(self._weights.attention_output(layer), attended, f"{name}.attention.out")
        down = self._mlp(layer, normed, f"{name}.mlp")
        return self._following(layer, ops.add(self._graph, projected, down, f"{name}.both"), residual)

    def _feed_forward(self, layer: int, attended: str, normed: str, residual: str) -> tuple[str, str]:
        """Output projection, MLP and the norm after it: (normed, residual) for the next layer."""
        weights, name = self._weights, f"layers.{layer}"
        projected = self._linear(weights.attention_output(layer), attended, f"{name}.attention.out")
        projected = self._post_norm(weights.attention_post_norm(layer), projected)
        normed, residual = self._add(weights.mlp_norm(layer), projected, residual, f"{name}.mlp.normed")
        down = self._mlp(layer, normed, f"{name}.mlp")
        down = self._post_norm(weights.mlp_post_norm(layer), down)
        return self._following(layer, down, residual)

    def _following(self, layer: int, value: str, residual: str) -> tuple[str, str]:
        """The sum of both, and its norm for the next layer or the vocabulary: (normed, sum)."""
        weights, last = self._weights, layer + 1 == self._shape.layers
        following = weights.final_norm() if last else weights.attention_norm(layer + 1)
        return self._add(following, value, residual, "normed" if last else f"layers.{layer + 1}.normed")

    def _mlp(self, layer: int, normed: str, name: str) -> str:
        """The MLP of a layer, or its mixture of experts: [..., H] -> [..., H]."""
        traits = self._architecture.traits
        if (mixture := traits.mixture_of(layer)) is not None:
            emitter = MixtureEmitter(self._graph, mixture, accuracy_level=self._options.accuracy_level)
            return emitter.emit(self._mixtures.layer(layer, mixture), normed, name)
        gate_up = self._linear(self._weights.gate_up(layer), normed, f"{name}.gate_up.out")
        hidden = ops.gated(self._graph, gate_up, f"{name}.gated", gelu=traits.gelu)
        return self._linear(self._weights.down(layer), hidden, f"{name}.out")

    def _post_norm(self, weight: WeightTensor | None, value: str) -> str:
        """The norm of what is added to the residual, if the family has one."""
        if weight is None:
            return value
        return ops.norm(self._graph, weight, value, f"{value}.normed", epsilon=self._architecture.norm_eps)

    def _add(self, weight: WeightTensor | None, value: str, residual: str, output: str) -> tuple[str, str]:
        """(norm of the sum, the sum); without a weight the sum twice."""
        if weight is None:
            total = ops.add(self._graph, value, residual, output)
            return total, total
        return ops.add_and_norm(
            self._graph,
            weight,
            value,
            residual,
            output,
            epsilon=self._architecture.norm_eps,
            centered=self._architecture.traits.centered_norms,
        )

    def _linear(self, matrix: Matrix, value: str, output: str) -> str:
        return ops.linear(self._graph, matrix, value, output, accuracy_level=self._options.accuracy_level)
