from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from predictor.builder.graph.segments import emit_segment
from predictor.segment_index import (
    LAYER_ROLES,
    LINEAR_ROLES,
    graph_file,
    linear,
    linear_shape,
    map_tensor,
    read_segment_index,
)
from protocol.release import DecoderShape, load_release
from tests.predictor.builder.checkpoints import VARIANTS, Variant, build, variant_checkpoint

SHAPE = DecoderShape(layers=3, hidden=48, heads=3, kv_heads=1, head_dim=32, intermediate=80, vocab=100)
ROWS = 7
# Of opset 17, both in the list of operators that TensorRT 8.6's parser supports.
OPERATORS = {"float16": ["Transpose", "MatMul"], "int8": [*["DequantizeLinear"] * 2, "Transpose", "MatMul"]}

every_graph = pytest.mark.parametrize(
    ("role", "dtype"), [(role, dtype) for role in LINEAR_ROLES for dtype in OPERATORS]
)


def emitted(role: str, dtype: str) -> bytes:
    return emit_segment(role, *linear_shape(SHAPE, role), dtype)


def run(graph: bytes, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"x": x, "weight": weight})
    return np.asarray(y)


def built(tmp_path: Path, variant: Variant, precision: str = "float16", *, layers: int = 2) -> Path:
    checkpoint = variant_checkpoint(tmp_path / "checkpoint", variant, layers=layers)
    build(checkpoint, tmp_path / "release", precision)
    return tmp_path / "release"


@every_graph
def test_graph_is_what_tensorrt_parses(role: str, dtype: str) -> None:
    model = onnx.load_model_from_string(emitted(role, dtype))
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert [node.op_type for node in model.graph.node] == OPERATORS[dtype]
    assert model.graph.node[-1].input[1] == model.graph.node[-2].output[0]  # the transposed weight
    assert all(len(tensor.dims) == 0 for tensor in model.graph.initializer)  # no weight is in the graph


@every_graph
def test_inputs_and_output_are_the_contract(role: str, dtype: str) -> None:
    n, k = linear_shape(SHAPE, role)
    graph = onnx.load_model_from_string(emitted(role, dtype)).graph
    half, int8, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.FLOAT
    kind, result = (half, half) if dtype == "float16" else (int8, single)
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }
    assert found == {"x": (kind, ["rows", k]), "weight": (kind, [n, k]), "y": (result, ["rows", n])}


@pytest.mark.parametrize("role", LINEAR_ROLES)
def test_float16_product(role: str) -> None:
    rng = np.random.default_rng(0)
    n, k = linear_shape(SHAPE, role)
    x, weight = (rng.normal(0, 1, (rows, k)).astype(np.float16) for rows in (ROWS, n))
    y = run(emitted(role, "float16"), x, weight)
    assert y.dtype == np.float16
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    np.testing.assert_allclose(y, exact, rtol=2**-10, atol=2**-8)


@pytest.mark.parametrize("role", LINEAR_ROLES)
def test_int8_product_is_exactly_that_of_integers(role: str) -> None:
    rng = np.random.default_rng(1)
    n, k = linear_shape(SHAPE, role)
    x, weight = (rng.integers(-128, 128, (rows, k)).astype(np.int8) for rows in (ROWS, n))
    x[0], weight[0] = -128, -128  # the largest sum there can be
    y = run(emitted(role, "int8"), x, weight)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x.astype(np.int64) @ weight.T.astype(np.int64) * 2.0**-12)


def test_a_type_without_products_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8 is none of float16, int8"):
        emit_segment("down", 3, 7, "uint8")


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_release_has_the_graphs_and_weights_of_its_decoder(
    tmp_path: Path, variant: Variant, precision: str
) -> None:
    release = built(tmp_path, variant, precision)
    shape, index = load_release(release).decoder, read_segment_index(release)
    for role in LINEAR_ROLES:
        wanted = emit_segment(role, *linear_shape(shape, role), "float16")
        assert (release / graph_file(role)).read_bytes() == wanted
    names = {linear(layer, role): role for layer in range(shape.layers) for role in LAYER_ROLES}
    for name, role in {**names, index.vocabulary: "vocabulary"}.items():
        stored = index.tensors[name]
        assert (stored.dtype, stored.shape) == (precision, linear_shape(shape, role))
    assert (index.vocabulary == "embedding") == variant.tied
    assert index.layers == shape.layers
    biased = {name for name in index.tensors if name.endswith(".bias")}
    assert bool(biased) == (variant.biased or variant.family == "Qwen2")
    assert all(index.tensors[name].dtype == "float32" for name in biased)


def test_index_says_where_every_tensor_lies(tmp_path: Path) -> None:
    release = built(tmp_path, Variant("Qwen2"))
    index = read_segment_index(release)
    cosines = map_tensor(release, index.tensors[index.rotary[0]])
    assert cosines.dtype == np.float32
    np.testing.assert_array_equal(cosines[0], 1)
    ends = [tensor.offset + tensor.nbytes for tensor in index.tensors.values()]
    assert max(ends) == (release / "weights.bin").stat().st_size


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_release_quantized_in_blocks_has_no_segments(
    tmp_path: Path, checkpoint: Path, precision: str
) -> None:
    build(checkpoint, tmp_path / "release", precision)
    assert not (tmp_path / "release" / "segments").exists()
