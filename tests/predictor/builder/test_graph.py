from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from predictor.builder.graph import GraphBuilder
from predictor.builder.weights import Stored


def sample() -> GraphBuilder:
    graph = GraphBuilder("sample", "weights.bin")
    x = graph.input("x", "float32", ("rows", 2))
    weight = graph.stored(Stored("w", "float32", (2, 2), 4096))
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
    graph = GraphBuilder("sample", "weights.bin")
    assert graph.constant(np.array(1, np.int64)) == graph.constant(np.array(1, np.int64))
    assert graph.constant(np.array(1, np.int64)) != graph.ints(1)
    scalar, vector = graph.model().graph.initializer
    assert numpy_helper.to_array(scalar).shape == ()
    assert numpy_helper.to_array(vector).shape == (1,)
