"""The CUDA kernels on the GPU at hand, against numpy; ``test_fused_gpu`` has those between the products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from predictor.errors import RunnerError, StartupError
from predictor.runners.tensorrt import cuda_api
from predictor.runners.tensorrt.kernels.launch import load_functions
from predictor.runners.tensorrt.kernels.nvrtc import Compiler
from predictor.runners.tensorrt.kernels.shape import KernelShape
from tests.predictor.runners.tensorrt import bench as benches
from tests.predictor.runners.tensorrt import kernel_cases as cases
from tests.predictor.runners.tensorrt.bench import VARIANTS, Bench, Variant
from tests.predictor.runners.tensorrt.device_memory import DeviceMemory, replayed

pytestmark = pytest.mark.gpu

CAPACITY = 400
MODELS = [(32, 32, 128), (28, 4, 128), (8, 2, 32), (12, 4, 64), (8, 8, 80), (10, 1, 72), (16, 1, 256)]
"""heads, kv_heads, head_dim."""


@pytest.fixture(scope="module")
def properties() -> cuda_api.DeviceProperties:
    try:
        return cuda_api.device_properties()
    except (RunnerError, StartupError, RuntimeError) as error:  # the last is cuda-python's without a driver
        pytest.skip(f"no GPU: {error}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(params=MODELS, ids=str)
def bench(
    request: pytest.FixtureRequest, properties: cuda_api.DeviceProperties, cache: Path
) -> Iterator[Bench]:
    yield from make_bench(request.param, 32000, 32, properties, cache)


def make_bench(
    model: tuple[int, int, int],
    vocabulary: int,
    candidates: int,
    properties: cuda_api.DeviceProperties,
    cache: Path,
) -> Iterator[Bench]:
    shape = KernelShape(*model, hidden=1024, vocabulary=vocabulary, candidates=candidates, capacity=CAPACITY)
    functions = load_functions(shape, Compiler(properties.compute_capability, cache))
    memory = DeviceMemory()
    yield benches.make_bench(shape, functions, memory, sm_count=properties.sm_count, max_rows=64)
    memory.close()


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    return VARIANTS[request.param]


def test_decode_attention(bench: Bench, variant: Variant) -> None:
    positions = [0, 1, 16, 63, 64, 65, 255, 399]
    cases.check_decode_attention(bench, positions, padding=[3], variant=variant)


def test_decode_attention_of_one_long_row(bench: Bench) -> None:
    cases.check_decode_attention(bench, [CAPACITY - 1])


def test_decode_attention_of_many_rows(bench: Bench) -> None:
    cases.check_decode_attention(bench, bench.random.integers(0, 100, 64).tolist())


def test_decode_attention_in_a_replayed_graph(properties: cuda_api.DeviceProperties, cache: Path) -> None:
    shape = KernelShape(28, 4, 128, hidden=1024, vocabulary=32000, candidates=32, capacity=CAPACITY)
    functions = load_functions(shape, Compiler(properties.compute_capability, cache))
    graphed = {name: replayed(function) for name, function in functions.items()}
    memory = DeviceMemory()
    one = benches.make_bench(shape, graphed, memory, sm_count=properties.sm_count, max_rows=64)
    cases.check_decode_attention(one, [399, 200, 10], padding=[2])
    cases.check_candidates(one, "ties", rows=5)
    memory.close()


def test_prefill_of_short_prompts(bench: Bench, variant: Variant) -> None:
    lengths = bench.random.integers(1, 65, 12).tolist()
    cases.check_prefill(bench, [(0, length) for length in lengths], decodes=3, variant=variant)


def test_prefill_of_a_long_prompt_and_of_chunks(bench: Bench) -> None:
    cases.check_prefill(bench, [(0, 300), (128, 128), (77, 30)])


@pytest.mark.parametrize("kind", cases.LOGITS)
@pytest.mark.parametrize(
    ("vocabulary", "candidates"), [(64, 32), (64, 64), (4096, 32), (50257, 32), (102400, 32), (151936, 64)]
)
def test_candidates(
    kind: str, vocabulary: int, candidates: int, properties: cuda_api.DeviceProperties, cache: Path
) -> None:
    for bench in make_bench((8, 2, 32), vocabulary, candidates, properties, cache):
        for rows in (1, 33):
            cases.check_candidates(bench, kind, rows, scaled=rows == 1)


def test_tokens_come_from_the_step_before_or_the_host(bench: Bench) -> None:
    cases.check_choose_tokens(bench, rows=64)
