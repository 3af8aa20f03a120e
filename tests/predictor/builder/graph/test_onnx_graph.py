from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from predictor.builder.graph.onnx_graph import MICROSOFT, ONNX_RUNTIME, TENSORRT, GraphBuilder, OnnxVersion
from predictor.builder.weights.file_layout import WeightTensor


def sample() -> GraphBuilder:
    graph = GraphBuilder("sample", weights_file="weights.bin")
    x = graph.input("x", "float32", ("rows", 2))
    weight = graph.stored(WeightTensor("w", "float32", (2, 2), 4096))
    product = graph.node("MatMul", [x, weight], "product")
    graph.node("Add", [product, graph.constant(np.array(1, np.float32))], "y")
    graph.output("y", "float32", ("rows", 2))
    return graph


def test_graph_is_valid_onnx_and_the_same_bytes_every_time() -> None:
    serialized = sample().serialized()
    assert serialized == sample().serialized()
    model = onnx.load_model_from_string(serialized)
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == ["y"]


def test_stored_tensor_points_into_the_weight_file() -> None:
    tensor = sample().model().graph.initializer[0]
    entries = {entry.key: entry.value for entry in tensor.external_data}
    assert entries == {"location": "weights.bin", "offset": "4096", "length": "16"}


def test_scalars_stay_scalars_and_equal_constants_are_kept_once() -> None:
    graph = GraphBuilder("sample", weights_file="weights.bin")
    assert graph.constant(np.array(1, np.int64)) == graph.constant(np.array(1, np.int64))
    assert graph.constant(np.array(1, np.int64)) != graph.ints(1)
    scalar, vector = graph.model().graph.initializer
    assert numpy_helper.to_array(scalar).shape == ()
    assert numpy_helper.to_array(vector).shape == (1,)


@pytest.mark.parametrize(
    ("onnx_version", "opset", "ir_version"), [(ONNX_RUNTIME, 21, 10), (TENSORRT, 17, 8)], ids=["ort", "trt"]
)
def test_dialect_decides_the_versions_in_the_file(
    onnx_version: OnnxVersion, opset: int, ir_version: int
) -> None:
    graph = GraphBuilder("sample", onnx_version=onnx_version)
    graph.node("QuickGelu", [graph.input("x", "float32", (2,))], "activated", domain=MICROSOFT)
    graph.cast("activated", "float16", "y")
    graph.output("y", "float16", (2,))
    model = graph.model()
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": opset, MICROSOFT: 1}
    assert model.ir_version == ir_version
    assert model.graph.node[1].attribute[0].i == model.graph.output[0].type.tensor_type.elem_type
