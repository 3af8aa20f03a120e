"""The kernels between the matrix products on the GPU at hand, against numpy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from predictor.errors import RunnerError, StartupError
from predictor.runners.tensorrt import cuda_api
from predictor.runners.tensorrt.kernels.launch import load_functions
from predictor.runners.tensorrt.kernels.nvrtc import Compiler
from predictor.runners.tensorrt.kernels.shape import KernelShape
from tests.predictor.runners.tensorrt import bench as benches
from tests.predictor.runners.tensorrt import fused_cases as cases
from tests.predictor.runners.tensorrt.bench import VARIANTS, Bench, Variant
from tests.predictor.runners.tensorrt.device_memory import DeviceMemory

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=[8, 896, 4096, 4104, 16384])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """By hidden size."""
    try:
        properties = cuda_api.device_properties()
    except (RunnerError, StartupError, RuntimeError) as error:  # the last is cuda-python's without a driver
        pytest.skip(f"no GPU: {error}")
    shape = KernelShape(8, 2, 64, hidden=request.param, vocabulary=64, candidates=4, capacity=64)
    compiler = Compiler(properties.compute_capability, tmp_path_factory.mktemp("compiled"))
    memory = DeviceMemory()
    functions = load_functions(shape, compiler)
    yield benches.make_bench(shape, functions, memory, sm_count=properties.sm_count, max_rows=64)
    memory.close()


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    return VARIANTS[request.param]


@pytest.mark.parametrize("rows", [1, 129])
def test_tokens_are_embedded_and_normed(bench: Bench, rows: int, variant: Variant) -> None:
    cases.check_embed_norm(bench, rows, variant)


@pytest.mark.parametrize("rows", [1, 129])
def test_products_are_added_to_the_residual(bench: Bench, rows: int, variant: Variant) -> None:
    cases.check_add_norm(bench, rows, variant)


@pytest.mark.parametrize("width", [8, 4864, 11008])
def test_gates_are_applied(bench: Bench, width: int, variant: Variant) -> None:
    cases.check_silu_mul(bench, 33, width, variant)


def test_extreme_gates(bench: Bench) -> None:
    cases.check_silu_of_extremes(bench)


def test_int8_rounds_half_to_even_and_saturates(bench: Bench) -> None:
    cases.check_ties(bench)


@pytest.mark.parametrize("int8", [False, True])
def test_rows_are_gathered(bench: Bench, int8: bool) -> None:
    cases.check_gather_rows(bench, [40, -1, 0, 40, 7], tokens=41, int8=int8)
