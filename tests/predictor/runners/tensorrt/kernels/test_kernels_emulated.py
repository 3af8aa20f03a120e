"""The CUDA kernels' index arithmetic, barriers and edge cases, on the host; ``test_kernels_gpu`` runs them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from predictor.runners.tensorrt.kernels.shape import KernelShape
from tests.predictor.runners.tensorrt import bench, fused_cases
from tests.predictor.runners.tensorrt import kernel_cases as cases
from tests.predictor.runners.tensorrt.bench import VARIANTS, Bench, HostMemory, Variant
from tests.predictor.runners.tensorrt.emulator import COMPILER, PrecedingLaunch, emulate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="emulating CUDA needs g++"),
]

SHAPES = {
    "one head each": KernelShape(
        heads=2, kv_heads=2, head_dim=32, hidden=24, vocabulary=64, candidates=32, capacity=160
    ),
    "seven share": KernelShape(
        heads=14, kv_heads=2, head_dim=64, hidden=64, vocabulary=9001, candidates=8, capacity=160
    ),
    "ten share": KernelShape(
        heads=10, kv_heads=1, head_dim=72, hidden=64, vocabulary=20000, candidates=32, capacity=160
    ),
    "wide": KernelShape(
        heads=3, kv_heads=1, head_dim=136, hidden=4104, vocabulary=4096, candidates=64, capacity=160
    ),
    "narrow": KernelShape(
        heads=4, kv_heads=2, head_dim=8, hidden=8, vocabulary=1, candidates=1, capacity=160
    ),
}

OVERLAPPING = {f"{name}, overlapping": SHAPES[name] for name in ("seven share", "narrow")}
"""Nothing that these kernels read or write is there before they have waited for the kernel in front."""

MakeBench = Callable[[int], Bench]


def maker(shape: KernelShape, *, overlaps: bool, behind_another: bool) -> MakeBench:
    preceding = PrecedingLaunch()
    functions = emulate(shape, seed=20, overlaps=overlaps, preceding=preceding)

    def make(sm_count: int) -> Bench:
        memory = HostMemory()
        if behind_another:
            preceding.writes = memory.regions
        return bench.make_bench(shape, functions, memory, sm_count=sm_count, max_rows=8)

    return make


@pytest.fixture(scope="module", params=[*SHAPES, *OVERLAPPING])
def make_bench(request: pytest.FixtureRequest) -> MakeBench:
    """Benches by number of multiprocessors, which decides how finely a past is split."""
    overlaps = request.param in OVERLAPPING
    shape = {**SHAPES, **OVERLAPPING}[request.param]
    return maker(shape, overlaps=overlaps, behind_another=overlaps)


def test_a_kernel_that_does_not_wait_for_the_one_in_front_shows() -> None:
    make = maker(SHAPES["narrow"], overlaps=False, behind_another=True)
    with pytest.raises(AssertionError):
        fused_cases.check_silu_mul(make(1), 2, 8, bench.PLAIN)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    return VARIANTS[request.param]


@pytest.mark.parametrize("sm_count", [1, 132])
def test_decode_attention(make_bench: MakeBench, sm_count: int, variant: Variant) -> None:
    positions = [0, 1, 150, 16, 63, 64]
    cases.check_decode_attention(make_bench(sm_count), positions, padding=[3], variant=variant)


def test_prefill_of_whole_prompts_behind_decode_rows(make_bench: MakeBench, variant: Variant) -> None:
    cases.check_prefill(make_bench(1), [(0, 1), (0, 17), (0, 70)], decodes=2, variant=variant)


def test_prefill_of_chunks(make_bench: MakeBench) -> None:
    cases.check_prefill(make_bench(1), [(64, 9), (33, 40)])


@pytest.mark.parametrize("scaled", [False, True])
def test_candidates(make_bench: MakeBench, scaled: bool) -> None:
    only_token = make_bench(1).shape.vocabulary == 1
    kinds = [
        kind for kind in cases.LOGITS if not (only_token and kind == "nan")
    ]  # nothing but a NaN has no best
    for kind in kinds:
        cases.check_candidates(make_bench(1), kind, rows=2, scaled=scaled)


def test_tokens_come_from_the_step_before_or_the_host(make_bench: MakeBench) -> None:
    cases.check_choose_tokens(make_bench(1), rows=300)


def test_tokens_are_embedded_and_normed(make_bench: MakeBench, variant: Variant) -> None:
    fused_cases.check_embed_norm(make_bench(1), 3, variant)


def test_products_are_added_to_the_residual(make_bench: MakeBench, variant: Variant) -> None:
    fused_cases.check_add_norm(make_bench(1), 3, variant)


@pytest.mark.parametrize("width", [8, 1032])
def test_gates_are_applied(make_bench: MakeBench, width: int, variant: Variant) -> None:
    fused_cases.check_silu_mul(make_bench(1), 2, width, variant)


def test_extreme_gates(make_bench: MakeBench) -> None:
    fused_cases.check_silu_of_extremes(make_bench(1))


def test_int8_rounds_half_to_even_and_saturates(make_bench: MakeBench) -> None:
    fused_cases.check_ties(make_bench(1))


@pytest.mark.parametrize("int8", [False, True])
def test_rows_are_gathered(make_bench: MakeBench, int8: bool) -> None:
    fused_cases.check_gather_rows(make_bench(1), [4, -1, 0, 4], tokens=5, int8=int8)
