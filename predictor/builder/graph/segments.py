"""``segments/``: the matrix products of a decoder step, as ONNX graphs that take their weights as inputs.

The graphs and the names of their weights are described in :mod:`predictor.segment_index`. The whole step in
one graph: :mod:`predictor.builder.graph.decoder`.
"""

from __future__ import annotations

import json

import numpy as np

from predictor.builder.families.architecture import Architecture
from predictor.builder.graph.onnx_graph import TENSORRT, GraphBuilder
from predictor.builder.weights.file_layout import WeightFileLayout
from predictor.segment_index import (
    INDEX_FILE,
    INT8_STEP,
    SegmentIndex,
    StoredTensor,
    graph_file,
    linear_roles,
    linear_shape,
)
from protocol.release import SEGMENTS_DIR

_RESULT = {"float16": "float16", "int8": "float32"}
"""Type of y by type of x and the weight."""


def segment_files(architecture: Architecture, weights: WeightFileLayout) -> dict[str, bytes]:
    """Content of the files below ``segments/``, by path inside the release.

    Args:
        architecture: of the decoder.
        weights: the layout of the tensors of ``decoder.onnx``, in float32 or float16; segments use the same ones.
    """
    files = {
        graph_file(role): emit_segment(
            role, *linear_shape(architecture.shape, role, architecture.traits), "float16"
        )
        for role in linear_roles(architecture.traits, architecture.shape.layers)
    }
    document = json.dumps(_index(architecture, weights).to_json(), indent=1) + "\n"
    return {**files, f"{SEGMENTS_DIR}/{INDEX_FILE}": document.encode()}


def emit_segment(role: str, n: int, k: int, dtype: str) -> bytes:
    """One matrix product, y = x W^T, serialized.

    Args:
        role: of the matrix; the graph's name.
        n: rows of W, the width of y.
        k: columns of W, the width of x.
        dtype: of x and W: float16, or int8, which gives y in float32, the integer sum times ``INT8_STEP``.

    Raises:
        ValueError: ``dtype`` is not supported.
    """
    if dtype not in _RESULT:
        raise ValueError(f"{dtype} is none of {', '.join(_RESULT)}")
    graph = GraphBuilder(f"{role}.{dtype}", onnx_version=TENSORRT)
    x, weight = graph.input("x", dtype, ("rows", k)), graph.input("weight", dtype, (n, k))
    if dtype == "int8":
        x, weight = _dequantized(graph, x, 1.0), _dequantized(graph, weight, INT8_STEP)
    # TensorRT and ONNX Runtime fuse the transposition into the product only where they are adjacent. y keeps the
    # type of the product: with a Cast to float32 behind it, TensorRT 8.6 converts the weights in every call.
    transposed = graph.node("Transpose", [weight], "weight.transposed", perm=[1, 0])
    graph.node("MatMul", [x, transposed], "y")
    graph.output("y", _RESULT[dtype], ("rows", n))
    return graph.serialized()


def _dequantized(graph: GraphBuilder, codes: str, step: float) -> str:
    """A quantized operand in explicit form, which TensorRT fuses into an int8 product."""
    constants = [graph.constant(np.array(step, np.float32)), graph.constant(np.array(0, np.int8))]
    return graph.node("DequantizeLinear", [codes, *constants], f"{codes}.steps")


def _index(architecture: Architecture, weights: WeightFileLayout) -> SegmentIndex:
    stored = [tensor for entry in weights.entries for tensor in entry.tensors]
    return SegmentIndex(
        traits=architecture.traits,
        tensors={tensor.name: StoredTensor(tensor.offset, tensor.dtype, tensor.shape) for tensor in stored},
    )
