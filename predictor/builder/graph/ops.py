"""The operators of a decoder step in ONNX: embedding, norm, linear, attention, MLP, vocabulary.

In every function here ``graph`` is the graph to extend, ``value`` the name of the input, ``output`` the name of the
result, and ``weight`` or ``matrix`` the stored operand; the name of the result is returned. Their order is decided in
:mod:`predictor.builder.graph.decoder`. Operators of com.microsoft need ONNX Runtime 1.23 or later. Letters: B rows,
S tokens of a row, C row capacity, H hidden size, I intermediate size, V vocabulary size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictor.builder.graph.onnx_graph import MICROSOFT, GraphBuilder
from predictor.builder.weights.decoder_matrices import Matrix
from predictor.builder.weights.file_layout import WeightTensor
from protocol.release import DecoderShape


@dataclass(frozen=True, slots=True)
class CacheStep:
    """Names of the values that the attention of all layers shares."""

    seqlens_k: str
    """int32 [B]: valid tokens of the row after this step, less one."""
    total_sequence_length: str
    """int32 []: most valid tokens of a row after this step."""


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """What the attention of one layer does."""

    rotary: tuple[str, str] | None
    """Names of cosines and sines, float32 [positions, head_dim / 2]; None if queries and keys are rotated already,
    or not at all."""
    window: int = 0
    """Tokens that are attended to, the token itself included; 0: all."""
    softcap: float = 0.0
    """Scores become cap * tanh(score / cap); 0: none."""
    scale: float = 0.0
    """Factor of the scores; 0: the usual head_dim^-0.5."""


def embed(graph: GraphBuilder, matrix: Matrix, token_ids: str) -> str:
    """Embedding lookup: int64 [B, S] -> float32 [B, S, H].

    Args:
        graph: that the nodes are added to.
        matrix: the embedding table [V, H], float32 or quantized by blocks.
        token_ids: name of the int64 [B, S] value.

    Returns:
        The name of the float32 value.
    """
    if matrix.form is None or matrix.scales is None:
        table = graph.stored(matrix.values.viewed(f"{matrix.values.name}.gathered", matrix.values.shape))
        if matrix.values.dtype == "float32":
            return graph.node("Gather", [table, token_ids], "embedded", axis=0)
        rows = graph.node("Gather", [table, token_ids], "embedded.rows", axis=0)
        return graph.cast(rows, "float32", "embedded")
    # The same bytes as the codes of the vocabulary projection; the two operators take them in different shapes.
    flat = (matrix.rows, matrix.columns * matrix.form.bits // 8)
    codes = matrix.values.viewed(f"{matrix.values.name}.gathered", flat)
    scales = matrix.scales.viewed(f"{matrix.scales.name}.gathered", matrix.scales.shape)
    return graph.node(
        "GatherBlockQuantized",
        [graph.stored(codes), token_ids, graph.stored(scales)],
        "embedded",
        domain=MICROSOFT,
        bits=matrix.form.bits,
        block_size=matrix.form.block,
        gather_axis=0,
        quantize_axis=1,
    )


def norm(
    graph: GraphBuilder,
    weight: WeightTensor,
    value: str,
    output: str,
    *,
    epsilon: float,
    centered: bool = False,
) -> str:
    """Root mean square norm over the last axis.

    Args:
        graph: that the node is added to.
        weight: [H].
        value: name of the float32 [..., H] value.
        output: name of the result, of the same shape.
        epsilon: added to the mean square.
        centered: whether the mean is subtracted first.

    Returns:
        ``output``.
    """
    return graph.node(
        "LayerNormalization" if centered else "SimplifiedLayerNormalization",
        [value, graph.stored(weight)],
        output,
        axis=-1,
        epsilon=epsilon,
        stash_type=1,
    )


def add_and_norm(
    graph: GraphBuilder,
    weight: WeightTensor,
    value: str,
    residual: str,
    output: str,
    *,
    epsilon: float,
    centered: bool = False,
) -> tuple[str, str]:
    """The norm of value + residual, and value + residual itself, both float32 [B, S, H].

    Args:
        graph: that the node is added to.
        weight: of the norm, [H].
        value: name of the float32 [B, S, H] value.
        residual: name of the float32 [B, S, H] value added to it.
        output: name of the norm; the sum takes the suffix ``.residual``.
        epsilon: added to the mean square.
        centered: whether the norm subtracts the mean first.

    Returns:
        The names of the norm and of the sum.
    """
    normed, _, _, total = graph.nodes(
        "SkipLayerNormalization" if centered else "SkipSimplifiedLayerNormalization",
        [value, residual, graph.stored(weight)],
        [output, "", "", f"{output}.residual"],
        domain=MICROSOFT,
        epsilon=epsilon,
    )
    return normed, total


def linear(graph: GraphBuilder, matrix: Matrix, value: str, output: str, *, accuracy_level: int = 4) -> str:
    """Y = x W^T + bias: float32 [..., columns] -> float32 [..., rows].

    Args:
        graph: that the nodes are added to.
        matrix: W [rows, columns], float32 or quantized by blocks, and the bias [rows] if there is one.
        value: name of x.
        output: name of the result.
        accuracy_level: of a quantized product: 4 multiplies in int8, 1 in float32.

    Returns:
        ``output``.
    """
    product = output if matrix.bias is None else f"{output}.product"
    if matrix.form is None or matrix.scales is None:
        weight = _float32_weight(graph, matrix.values)
        graph.node("FusedMatMul", [value, weight], product, domain=MICROSOFT, transB=1)
    else:
        zero_points = [] if matrix.zero_points is None else [graph.stored(matrix.zero_points)]
        graph.node(
            "MatMulNBits",
            [value, graph.stored(matrix.values), graph.stored(matrix.scales), *zero_points],
            product,
            domain=MICROSOFT,
            N=matrix.rows,
            K=matrix.columns,
            bits=matrix.form.bits,
            block_size=matrix.form.block,
            accuracy_level=accuracy_level,
        )
    if matrix.bias is None:
        return product
    return graph.node("Add", [product, graph.stored(matrix.bias)], output)


def head_norm(
    graph: GraphBuilder, weight: WeightTensor, value: str, output: str, *, head_dim: int, epsilon: float
) -> str:
    """Norm of each head by itself: float32 [B, S, heads * head_dim] -> the same shape.

    Args:
        graph: that the nodes are added to.
        weight: [head_dim], the same for all heads.
        value: name of the value.
        output: name of the result.
        head_dim: size of a head.
        epsilon: added to the mean square.

    Returns:
        ``output``.
    """
    heads = graph.node("Reshape", [value, graph.ints(0, 0, -1, head_dim)], f"{output}.heads")
    normed = norm(graph, weight, heads, f"{output}.normed", epsilon=epsilon)
    return graph.node("Reshape", [normed, graph.ints(0, 0, -1)], output)


def split_qkv(graph: GraphBuilder, shape: DecoderShape, qkv: str, output: str) -> tuple[str, ...]:
    """float32 [B, S, (heads + 2 kv_heads) head_dim] -> queries, keys, values.

    Args:
        graph: that the node is added to.
        shape: numbers of heads and the size of a head.
        qkv: name of the value to split.
        output: prefix of the results' names.

    Returns:
        The names of queries, keys and values.
    """
    sizes = graph.ints(*(heads * shape.head_dim for heads in (shape.heads, shape.kv_heads, shape.kv_heads)))
    return graph.nodes("Split", [qkv, sizes], [f"{output}.{part}" for part in "qkv"], axis=-1)


def add(graph: GraphBuilder, value: str, residual: str, output: str) -> str:
    """The sum of two float32 values of one shape.

    Args:
        graph: that the node is added to.
        value: name of the first one.
        residual: name of the second one.
        output: name of the result.

    Returns:
        ``output``.
    """
    return graph.node("Add", [value, residual], output)


def softcapped(graph: GraphBuilder, value: str, cap: float, output: str) -> str:
    """Cap * tanh(value / cap), float32.

    Args:
        graph: that the nodes are added to.
        value: name of the value.
        cap: largest absolute value of the result.
        output: name of the result, of the same shape.

    Returns:
        ``output``.
    """
    limit = graph.constant(np.array(cap, np.float32))
    inner = graph.node("Tanh", [graph.node("Div", [value, limit], f"{output}.divided")], f"{output}.tanh")
    return graph.node("Mul", [inner, limit], output)


def row_positions(graph: GraphBuilder, token_ids: str, seqlens_k: str) -> str:
    """Positions of the tokens of a step: int64 [B, S], from 0 in prefill, the row's newest one in decode.

    Args:
        graph: that the nodes are added to.
        token_ids: name of the int64 [B, S] value.
        seqlens_k: name of the int32 [B] value.

    Returns:
        The name of the positions.
    """
    shape = graph.node("Shape", [token_ids], "step.shape")
    count = graph.node("Gather", [shape, graph.ints(1)], "step.tokens")
    is_one = graph.node("Equal", [count, graph.ints(1)], "step.is_one")
    newest = graph.cast(seqlens_k, "int64", "step.newest")
    begin = graph.node("Mul", [newest, graph.cast(is_one, "int64", "step.is_decode")], "step.begin")
    zero, one = (graph.constant(np.array(value, np.int64)) for value in (0, 1))
    stop = graph.node("Squeeze", [count], "step.stop")
    offsets = graph.node("Range", [zero, stop, one], "step.offsets")
    column = graph.node("Unsqueeze", [begin, graph.ints(-1)], "step.begin.column")
    return graph.node("Add", [column, offsets], "positions")


def rotated(graph: GraphBuilder, value: str, positions: str, tables: tuple[str, str], output: str) -> str:
    """Rotary embedding of each head, the first half of a head paired with the second.

    Args:
        graph: that the node is added to.
        value: name of the float32 [B, S, heads * head_dim] value.
        positions: name of the int64 [B, S] value.
        tables: names of cosines and sines, float32 [positions, head_dim / 2].
        output: name of the result, of the same shape.

    Returns:
        ``output``.
    """
    return graph.node("RotaryEmbedding", [value, positions, *tables], output, domain=MICROSOFT, interleaved=0)


def attention(
    graph: GraphBuilder,
    shape: DecoderShape,
    qkv: tuple[str, str, str],
    layer: int,
    step: CacheStep,
    kind: LayerAttention,
) -> str:
    """Add rotary embedding, K/V cache update and attention of one layer.

    Declares the inputs past_key and past_value and the outputs present_key and present_value of ``layer``, all
    float32 [B, kv_heads, C, head_dim].

    Args:
        graph: that the node is added to.
        shape: numbers of heads and the size of a head.
        qkv: names of queries, keys and values; or the name of the packed QKV, "" and "".
        layer: index of the layer.
        step: names of the values that all layers share.
        kind: rotary tables, window and soft cap of the layer.

    Returns:
        The name of the result, float32 [B, S, heads * head_dim].
    """
    cache = ("batch", shape.kv_heads, "capacity", shape.head_dim)
    past = [graph.input(f"past_{part}.{layer}", "float32", cache) for part in ("key", "value")]
    present = [f"present_{part}.{layer}" for part in ("key", "value")]
    options: dict[str, int | float] = {"local_window_size": kind.window} if kind.window else {}
    if kind.softcap:
        options["softcap"] = kind.softcap
    if kind.scale:
        options["scale"] = kind.scale
    attended, *_ = graph.nodes(
        "GroupQueryAttention",
        [*qkv, *past, step.seqlens_k, step.total_sequence_length, *(kind.rotary or ())],
        [f"layers.{layer}.attended", *present],
        domain=MICROSOFT,
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        do_rotary=int(kind.rotary is not None),
        rotary_interleaved=0,
        **options,
    )
    for name in present:
        graph.output(name, "float32", cache)
    return attended


def gated(graph: GraphBuilder, gate_up: str, output: str, *, gelu: bool = False) -> str:
    """silu(gate) * up, or gelu(gate) * up: float32 [B, S, 2 I] -> [B, S, I].

    Args:
        graph: that the nodes are added to.
        gate_up: name of gate and up, one behind the other on the last axis.
        output: name of the result.
        gelu: GELU in its tanh form, in place of SiLU.

    Returns:
        ``output``.
    """
    gate, up = graph.nodes("Split", [gate_up], [f"{output}.gate", f"{output}.up"], axis=-1, num_outputs=2)
    if gelu:
        active = graph.node("FastGelu", [gate], f"{output}.gelu", domain=MICROSOFT)
    else:  # x * sigmoid(alpha x); with alpha 1 it is SiLU, in one operator
        active = graph.node("QuickGelu", [gate], f"{output}.silu", domain=MICROSOFT, alpha=1.0)
    return graph.node("Mul", [active, up], output)


def last_tokens(graph: GraphBuilder, value: str, index: str, output: str) -> str:
    """The row's token at ``index`` (int64 [B, 1]): float32 [B, S, H] -> float32 [B, H].

    Args:
        graph: that the node is added to.
        value: name of the float32 [B, S, H] value.
        index: name of the int64 [B, 1] value.
        output: name of the result.

    Returns:
        ``output``.
    """
    return graph.node("GatherND", [value, index], output, batch_dims=1)


def best_candidates(graph: GraphBuilder, logits: str, count: int) -> None:
    """float32 [B, V] -> the outputs candidate_ids int32 and candidate_logprobs float32, [B, count], best first.

    Args:
        graph: that the nodes and the two outputs are added to.
        logits: name of the float32 [B, V] value.
        count: candidates of each row.
    """
    logprobs = graph.node("LogSoftmax", [logits], "logprobs", axis=-1)
    _, ids = graph.nodes(
        "TopK",
        [logprobs, graph.ints(count)],
        ["candidate_logprobs", "best.ids"],
        axis=-1,
        largest=1,
        sorted=1,
    )
    graph.cast(ids, "int32", "candidate_ids")
    graph.output("candidate_ids", "int32", ("batch", count))
    graph.output("candidate_logprobs", "float32", ("batch", count))


def _float32_weight(graph: GraphBuilder, tensor: WeightTensor) -> str:
    name = graph.stored(tensor)
    if tensor.dtype == "float32":
        return name
    # ONNX Runtime folds the cast of a constant once, when it loads the graph.
    return graph.cast(name, "float32", f"{name}.float32")
