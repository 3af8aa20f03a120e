"""The product of few rows, emulated: index arithmetic, stages, barriers; ``test_linear_gpu`` has the real one."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import pytest

from predictor.runners.tensorrt.cuda_api import DeviceProperties
from predictor.runners.tensorrt.kernels.launch import Grid
from predictor.runners.tensorrt.kernels.linear import KERNEL, program
from predictor.runners.tensorrt.kernels.linear_tiling import Tiling, tiling_for
from tests.predictor.runners.tensorrt import linear_cases as cases
from tests.predictor.runners.tensorrt.bench import HostMemory
from tests.predictor.runners.tensorrt.emulator import (
    COMPILER,
    Memory,
    PrecedingLaunch,
    declare_unwritten,
    load_emulated,
)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="emulating CUDA needs g++")

SHAPES = [(320, 192), (200, 320), (136, 704), (8, 64)]
"""n, k: whole and cut tiles, one and several chunks of k."""


@dataclass(frozen=True, slots=True)
class Emulated:
    """A :class:`predictor.runners.tensorrt.kernels.linear.LinearFunction` on the host."""

    library: Any
    overlaps: bool
    preceding: PrecedingLaunch = field(default_factory=PrecedingLaunch)

    def __call__(self, grid: Grid, threads: int, stream: int, arguments: int) -> None:
        declare_unwritten(self.library, self.preceding.writes())
        self.library.emulate((ctypes.c_int * 3)(*grid), threads, 20, ctypes.c_void_p(arguments))


def emulate(tiling: Tiling, dtype: str, *, overlaps: bool) -> Emulated:
    """Compile the kernel."""
    wrapper = (
        'extern "C" void emulate(const int* grid, int threads, unsigned seed, void** arguments) {\n'
        f"    run_emulated_in_order({KERNEL}, grid, threads, seed, arguments);\n}}\n"
    )
    return Emulated(load_emulated(program(tiling, dtype), wrapper), overlaps)


def properties(sm_count: int, compute_capability: tuple[int, int]) -> DeviceProperties:
    return DeviceProperties("", "", compute_capability, sm_count, 0, "")


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize(
    ("compute_capability", "m", "overlaps"),
    [((9, 0), 5, True), ((9, 0), 16, False), ((9, 0), 64, True), ((8, 6), 32, False), ((8, 6), 57, False)],
)
def test_products(compute_capability: tuple[int, int], m: int, overlaps: bool, dtype: str) -> None:
    compiled: dict[Tiling, Emulated] = {}
    for (n, k), sm_count in zip(SHAPES, (2, 7, 3, 132), strict=True):
        gpu = properties(sm_count, compute_capability)
        tiling = tiling_for(n, m, sm_count, compute_capability)
        if tiling not in compiled:
            compiled[tiling] = emulate(tiling, dtype, overlaps=overlaps)
        functions = _for_any_rows(n, gpu, dtype, tiling, compiled[tiling])
        memory = HostMemory()
        if overlaps:
            compiled[tiling].preceding.writes = all_but_the_weight(memory, (n, k))
        cases.check_products(functions, gpu, memory, (n, k), [m], dtype)


def all_but_the_weight(memory: HostMemory, weight: tuple[int, int]) -> Memory:
    """An overlapping product may read its weight early, and nothing else."""
    return lambda: [
        (address, array.nbytes) for address, array in memory.arrays.items() if array.shape != weight
    ]


def test_a_row_does_not_depend_on_the_others() -> None:
    gpu = properties(2, (9, 0))
    tiling = tiling_for(136, 8, gpu.sm_count, gpu.compute_capability)
    function = emulate(tiling, "float16", overlaps=False)
    functions = _for_any_rows(136, gpu, "float16", tiling, function)
    cases.check_rows_are_independent(functions, gpu, HostMemory(), (136, 704))


def _for_any_rows(
    n: int, gpu: DeviceProperties, dtype: str, tiling: Tiling, function: Emulated
) -> cases.Functions:
    """Binding wants a function for each number of rows; those of the others refuse to be started."""
    functions: cases.Functions = {
        (dtype, tiling_for(n, rows, gpu.sm_count, gpu.compute_capability)): Emulated(None, False)
        for rows in (8, 16, 32, 64)
    }
    functions[dtype, tiling] = function
    return functions
