"""``decoder.onnx``: one step of the whole decoder for ONNX Runtime, prefill and decode in one graph.

Inputs and outputs (B rows, S padded prompt length and 1 in decode, C row capacity, K candidates)::

    in   input_ids int64 [B, S]
         seqlens_k int32 [B]               valid tokens of the row after this step, less one
         total_sequence_length int32 []    most valid tokens of a row after this step
         last_token int64 [B]              index along S of the row's last valid token
         past_key.i, past_value.i          float32 [B, kv_heads, C, head_dim]
    out  candidate_ids int32 [B, K], candidate_logprobs float32 [B, K]   best first
         present_key.i, present_value.i    to be bound to the buffers of the past

Prefill starts every row at position 0; prompts are padded on the right to the length of the longest one. The
operators are in :mod:`predictor.builder.graph.ops`, the weights in :mod:`predictor.builder.weights.decoder_matrices`.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictor.builder.checkpoint.architecture import Architecture
from predictor.builder.graph import ops
from predictor.builder.graph.onnx_graph import GraphBuilder
from predictor.builder.weights.decoder_matrices import DecoderMatrices, Matrix
from protocol.release import WEIGHTS_FILE


@dataclass(frozen=True, slots=True)
class StepOptions:
    """Parameters of the graph besides the architecture."""

    positions: int
    """Rows of the rotary tables: the longest sequence, and the largest capacity C."""
    candidates: int
    """K."""
    accuracy_level: int = 4
    """Of quantized products: 4 multiplies in int8, 1 in float32 (com.microsoft MatMulNBits)."""


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

    def emit(self) -> GraphBuilder:
        graph, weights, epsilon = self._graph, self._weights, self._architecture.norm_eps
        token_ids = graph.input("input_ids", "int64", ("batch", "sequence"))
        step = self._cache_step()
        last = graph.node(
            "Unsqueeze", [graph.input("last_token", "int64", ("batch",)), graph.ints(-1)], "last"
        )
        residual = ops.embed(graph, weights.embedding(), token_ids)
        normed = ops.norm(graph, weights.attention_norm(0), residual, "layers.0.normed", epsilon=epsilon)
        for layer in range(self._shape.layers):
            attended = self._attend(layer, normed, step)
            if layer + 1 == self._shape.layers:
                # Behind the last attention tokens are independent, and only each row's last one is needed.
                attended = ops.last_tokens(graph, attended, last, "last.attended")
                residual = ops.last_tokens(graph, residual, last, "last.residual")
            normed, residual = self._feed_forward(layer, attended, residual)
        logits = self._linear(weights.vocabulary(), normed, "logits")
        ops.best_candidates(graph, logits, self._options.candidates)
        return graph

    def _cache_step(self) -> ops.CacheStep:
        graph = self._graph
        cosines, sines = self._weights.rotary(self._options.positions)
        return ops.CacheStep(
            seqlens_k=graph.input("seqlens_k", "int32", ("batch",)),
            total_sequence_length=graph.input("total_sequence_length", "int32", ()),
            cosines=graph.stored(cosines),
            sines=graph.stored(sines),
        )

    def _attend(self, layer: int, normed: str, step: ops.CacheStep) -> str:
        """Attention without its output projection: [B, S, H] -> [B, S, heads * head_dim]."""
        graph, name = self._graph, f"layers.{layer}.attention"
        packed = self._linear(self._weights.qkv(layer), normed, f"{name}.qkv.out")
        if not self._architecture.qk_norm:
            return ops.attention(graph, self._shape, (packed, "", ""), layer, step)
        queries, keys, values = ops.split_qkv(graph, self._shape, packed, name)
        queries, keys = (
            ops.head_norm(
                graph,
                self._weights.head_norm(layer, part),
                value,
                f"{name}.{part}.normed",
                head_dim=self._shape.head_dim,
                epsilon=self._architecture.norm_eps,
            )
            for part, value in (("q", queries), ("k", keys))
        )
        return ops.attention(graph, self._shape, (queries, keys, values), layer, step)

    def _feed_forward(self, layer: int, attended: str, residual: str) -> tuple[str, str]:
        """Output projection, MLP and the norm after it: (normed, residual) for the next layer."""
        graph, weights, epsilon = self._graph, self._weights, self._architecture.norm_eps
        name = f"layers.{layer}"
        projected = self._linear(weights.attention_output(layer), attended, f"{name}.attention.out")
        normed, residual = ops.add_and_norm(
            graph, weights.mlp_norm(layer), projected, residual, f"{name}.mlp.normed", epsilon=epsilon
        )
        gate_up = self._linear(weights.gate_up(layer), normed, f"{name}.mlp.gate_up.out")
        hidden = ops.gated(graph, gate_up, f"{name}.mlp.gated")
        down = self._linear(weights.down(layer), hidden, f"{name}.mlp.out")
        last = layer + 1 == self._shape.layers
        following = weights.final_norm() if last else weights.attention_norm(layer + 1)
        output = "normed" if last else f"layers.{layer + 1}.normed"
        return ops.add_and_norm(graph, following, down, residual, output, epsilon=epsilon)

    def _linear(self, matrix: Matrix, value: str, output: str) -> str:
        return ops.linear(self._graph, matrix, value, output, accuracy_level=self._options.accuracy_level)
