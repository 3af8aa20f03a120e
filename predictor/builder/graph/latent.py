"""The operators of multi-head latent attention in ONNX: GroupQueryAttention with one head of keys and values alike.

Letters as in :mod:`predictor.builder.graph.ops`, and N heads, T tokens of all rows, R the rank of the latent. The key
matrix of a head is multiplied with its queries [T, plain] -> [T, R], and its value matrix with what it attended to.
"""

from __future__ import annotations

from predictor.builder.graph import ops
from predictor.builder.graph.onnx_graph import MICROSOFT, GraphBuilder
from predictor.builder.weights.decoder_matrices import Matrix
from predictor.builder.weights.latent_matrices import LatentMatrices
from predictor.segment_traits import LatentTraits
from protocol.release import DecoderShape


class LatentEmitter:
    """Adds the attention of a decoder's layers to a graph."""

    def __init__(
        self,
        graph: GraphBuilder,
        shape: DecoderShape,
        traits: LatentTraits,
        token_ids: str,
        *,
        accuracy_level: int,
    ) -> None:
        """Prepare to add them.

        Args:
            graph: that nodes are added to.
            shape: of the decoder.
            traits: of the attention.
            token_ids: name of the int64 [B, S] value.
            accuracy_level: of quantized products, see :func:`ops.linear`.
        """
        self._graph = graph
        self._shape = shape
        self._traits = traits
        self._accuracy_level = accuracy_level
        self._rows = graph.node("Shape", [token_ids], "latent.rows")
        """[2]: B, S."""

    def emit(
        self,
        weights: LatentMatrices,
        normed: str,
        layer: int,
        step: ops.CacheStep,
        rotation: tuple[str, tuple[str, str]],
    ) -> str:
        """Attention without its output projection: [B, S, H] -> [B, S, N value].

        Args:
            weights: of the layer.
            normed: name of the float32 [B, S, H] value.
            layer: number of the layer.
            step: names of the values that all layers share.
            rotation: names of the tokens' positions, and of cosines and sines.
        """
        graph, traits, name = self._graph, self._traits, f"layers.{layer}.attention"
        sizes = graph.ints(*traits.projected(self._shape.heads))
        packed = self._linear(weights.projection, normed, f"{name}.qkv.out")
        queries, latent, key = graph.nodes(
            "Split", [packed, sizes], [f"{name}.{part}" for part in ("q", "latent", "k")], axis=-1
        )
        if weights.query is not None and weights.query_norm is not None:
            normed = ops.norm(graph, weights.query_norm, queries, f"{name}.q.normed", epsilon=traits.norm_eps)
            queries = self._linear(weights.query, normed, f"{name}.q.out")
        latent = ops.norm(
            graph, weights.latent_norm, latent, f"{name}.latent.normed", epsilon=traits.norm_eps
        )
        key = ops.rotated(graph, key, *rotation, f"{name}.k.rotated")
        keys = graph.node("Concat", [latent, key], f"{name}.keys", axis=-1)
        to_keys, to_values = self._head_matrices(weights, name)
        queries = self._latent_queries(queries, to_keys, rotation, name)
        kind = ops.LayerAttention(rotary=None, scale=traits.scale)
        attended = ops.attention(graph, self._shape, (queries, keys, keys), layer, step, kind)
        return self._head_values(attended, to_values, name)

    def _head_matrices(self, weights: LatentMatrices, name: str) -> tuple[str, str]:
        """Key and value matrices of the heads, [N, plain, R] and [N, value, R]; folded when the graph is loaded."""
        graph, traits, tensor = self._graph, self._traits, weights.keys_values
        heads, size = self._shape.heads, traits.plain + traits.value
        stored = graph.stored(tensor.viewed(f"{tensor.name}.by_head", (heads, size, traits.rank)))
        if tensor.dtype != "float32":
            stored = graph.cast(stored, "float32", f"{stored}.float32")
        parts = [f"{name}.to_keys", f"{name}.to_values"]
        to_keys, to_values = graph.nodes(
            "Split", [stored, graph.ints(traits.plain, traits.value)], parts, axis=1
        )
        return to_keys, to_values

    def _latent_queries(
        self, queries: str, to_keys: str, rotation: tuple[str, tuple[str, str]], name: str
    ) -> str:
        """[B, S, N query] -> [B, S, N (R + rotated)]."""
        graph, traits, heads = self._graph, self._traits, self._shape.heads
        by_head = graph.node("Reshape", [queries, graph.ints(-1, heads, traits.query)], f"{name}.q.heads")
        sizes, parts = graph.ints(traits.plain, traits.rotated), [f"{name}.q.plain", f"{name}.q.rot"]
        plain, rotated = graph.nodes("Split", [by_head, sizes], parts, axis=-1)
        flat = self._shaped(rotated, heads * traits.rotated, f"{name}.q.rot.flat")
        turned = ops.rotated(graph, flat, *rotation, f"{name}.q.rotated")
        turned = graph.node(
            "Reshape", [turned, graph.ints(-1, heads, traits.rotated)], f"{name}.q.rotated.heads"
        )
        first = graph.node("Transpose", [plain], f"{name}.q.plain.first", perm=[1, 0, 2])
        latent = graph.node("MatMul", [first, to_keys], f"{name}.q.latent")
        latent = graph.node("Transpose", [latent], f"{name}.q.latent.heads", perm=[1, 0, 2])
        joined = graph.node("Concat", [latent, turned], f"{name}.q.joined", axis=-1)
        return self._shaped(joined, heads * (traits.rank + traits.rotated), f"{name}.queries")

    def _head_values(self, attended: str, to_values: str, name: str) -> str:
        """[B, S, N (R + rotated)] -> [B, S, N value]."""
        graph, traits, heads = self._graph, self._traits, self._shape.heads
        size = traits.rank + traits.rotated
        by_head = graph.node("Reshape", [attended, graph.ints(-1, heads, size)], f"{name}.attended.heads")
        ends = [graph.ints(0), graph.ints(traits.rank), graph.ints(-1)]
        latent = graph.node("Slice", [by_head, *ends], f"{name}.attended.latent")
        first = graph.node("Transpose", [latent], f"{name}.attended.first", perm=[1, 0, 2])
        values = graph.node(
            "FusedMatMul", [first, to_values], f"{name}.values.first", domain=MICROSOFT, transB=1
        )
        values = graph.node("Transpose", [values], f"{name}.values", perm=[1, 0, 2])
        return self._shaped(values, heads * traits.value, f"{name}.joined")

    def _shaped(self, value: str, width: int, output: str) -> str:
        """The values as [B, S, width]."""
        shape = self._graph.node("Concat", [self._rows, self._graph.ints(width)], f"{output}.shape", axis=0)
        return self._graph.node("Reshape", [value, shape], output)

    def _linear(self, matrix: Matrix, value: str, output: str) -> str:
        return ops.linear(self._graph, matrix, value, output, accuracy_level=self._accuracy_level)
