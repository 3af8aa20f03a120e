"""Engines on a GPU: built, loaded and looked at; what they compute is checked where they run."""

from __future__ import annotations

import logging

import pytest

from predictor import tensorrt_api
from predictor.builder.graph.onnx_graph import TENSORRT, GraphBuilder
from predictor.builder.plans.engines import EngineRequest, profiles_up_to
from predictor.errors import StartupError
from predictor.tensorrt_api import Api, TensorRTError

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def api() -> Api:
    try:
        return tensorrt_api.load_api()
    except StartupError as error:
        pytest.skip(str(error))


def product() -> bytes:
    graph = GraphBuilder("product", onnx_version=TENSORRT)
    x, weight = graph.input("x", "float16", ("tokens", 64)), graph.input("weight", "float16", (128, 64))
    graph.node("MatMul", [x, graph.node("Transpose", [weight], "weight.transposed", perm=[1, 0])], "y")
    graph.output("y", "float16", ("tokens", 128))
    return graph.serialized()


def test_an_engine_is_built_and_loads(api: Api) -> None:
    from predictor.builder.plans.engine_build import TensorRTEngineBuilder

    request = EngineRequest(product(), profiles_up_to(64), optimization_level=0, workspace_bytes=1 << 26)
    context = api.deserialize(TensorRTEngineBuilder(api).build(request)).create_context()
    for beyond in (-1, len(request.profiles)):
        with pytest.raises(TensorRTError, match=f"TensorRT {api.version}: profile {beyond} is refused"):
            context.set_profile(beyond, 0)


def test_timings_serve_the_next_engine_and_what_cannot_is_refused_in_silence(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    from predictor.builder.plans.engine_build import TensorRTEngineBuilder

    request = EngineRequest(product(), profiles_up_to(64), optimization_level=2, workspace_bytes=1 << 26)
    first, second = TensorRTEngineBuilder(api), TensorRTEngineBuilder(api)
    assert not first.load_timings(b"not a cache")
    assert first.build(request)
    timed = first.timings()
    assert first.build(request)
    assert len(first.timings()) == len(timed) > 0
    second.load_timings(timed)  # 8.6 may refuse what it wrote
    assert second.build(request)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_graph_that_is_none_is_refused(api: Api) -> None:
    from predictor.builder.plans.engine_build import TensorRTEngineBuilder

    request = EngineRequest(b"no graph", profiles_up_to(8), optimization_level=0, workspace_bytes=1 << 26)
    with pytest.raises(TensorRTError, match="the graph cannot be parsed"):
        TensorRTEngineBuilder(api).build(request)


def test_an_engine_that_is_damaged_is_refused(api: Api) -> None:
    with pytest.raises(TensorRTError, match="the engine cannot be loaded"):
        api.deserialize(b"no engine")
