"""The product of few rows on the GPU at hand, against float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from predictor.errors import RunnerError, StartupError
from predictor.runners.tensorrt import cuda_api
from predictor.runners.tensorrt.kernels.linear import SkinnyLinears, load_functions
from predictor.runners.tensorrt.kernels.nvrtc import Compiler
from predictor.runners.tensorrt.kernels.overlap import PrecedingLaunch
from tests.predictor.runners.tensorrt import linear_cases as cases
from tests.predictor.runners.tensorrt.device_memory import DeviceMemory

pytestmark = pytest.mark.gpu

SHAPES = [
    (12288, 4096),
    (4096, 4096),
    (22016, 4096),
    (4096, 11008),
    (320, 192),
    (4096, 192),
    (200, 448),
    (8, 64),
]
"""n, k: of a model of seven billion weights, and small and odd ones."""


@pytest.fixture(scope="module")
def properties() -> cuda_api.DeviceProperties:
    try:
        return cuda_api.device_properties()
    except (RunnerError, StartupError, RuntimeError) as error:  # the last is cuda-python's without a driver
        pytest.skip(f"no GPU: {error}")


@pytest.fixture(scope="module", params=[False, True], ids=["ordinary", "overlapping"])
def functions(
    request: pytest.FixtureRequest,
    properties: cuda_api.DeviceProperties,
    tmp_path_factory: pytest.TempPathFactory,
) -> cases.Functions:
    compiler = Compiler(properties.compute_capability, tmp_path_factory.getbasetemp() / "linear")
    weights = [(dtype, n) for dtype in ("float16", "int8") for n, _ in SHAPES]
    return load_functions(weights, compiler, properties, PrecedingLaunch() if request.param else None)


@pytest.fixture
def memory() -> Iterator[DeviceMemory]:
    memory = DeviceMemory()
    yield memory
    memory.close()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(
    functions: cases.Functions,
    properties: cuda_api.DeviceProperties,
    memory: DeviceMemory,
    shape: tuple[int, int],
    dtype: str,
) -> None:
    cases.check_products(functions, properties, memory, shape, [1, 3, 8, 17, 32, 64], dtype)


def test_a_row_does_not_depend_on_the_others(
    functions: cases.Functions, properties: cuda_api.DeviceProperties, memory: DeviceMemory
) -> None:
    cases.check_rows_are_independent(functions, properties, memory, (22016, 4096))


def test_products_of_products_in_a_replayed_graph(
    functions: cases.Functions, properties: cuda_api.DeviceProperties, memory: DeviceMemory
) -> None:
    """Each product reads what the one in front of it wrote, which overlapping launches must wait for."""
    n, m, count = 4096, 32, 24
    random = np.random.default_rng()
    weights = [memory.put((random.standard_normal((n, n)) / np.sqrt(n)).astype(np.float16)) for _ in range(3)]
    nbytes = SkinnyLinears.workspace_bytes(functions, properties)
    workspace = memory.put(np.zeros(nbytes, np.uint8)).address
    linears = SkinnyLinears(functions, properties, workspace=workspace)
    x = random.standard_normal((m, n)).astype(np.float16)
    first, second = memory.put(x), memory.put(x)
    ends = [(first.address, second.address), (second.address, first.address)]
    starts = [
        linears.bind(x=a, weight=weights[i % 3].address, y=b, n=n, k=n, dtype="float16")
        for i, (a, b) in enumerate(ends * (count // 2))
    ]
    stream = cuda_api.create_stream()

    def work() -> None:
        for start in starts:
            start(m, stream)

    graph = cuda_api.capture(stream, work)
    results = []
    for _ in range(3):
        cuda_api.copy_to_device(first.address, x.ctypes.data, x.nbytes, stream)
        cuda_api.launch_graph(graph, stream)
        cuda_api.synchronize_stream(stream)
        results.append(memory.get(first))
    cuda_api.destroy_graph(graph)
    cuda_api.destroy_stream(stream)
    exact = x.astype(np.float64)
    for i in range(count):
        exact = exact @ memory.get(weights[i % 3]).astype(np.float64).T
    assert np.linalg.norm(results[0] - exact) <= 5e-3 * np.linalg.norm(exact)  # 24 roundings
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
