"""The skinny matrix product y = x W^T, for few rows of x: compiled, bound and launched.

At decode a product is bound by reading its weight; the kernel keeps every multiprocessor reading until the end,
whatever the weight's shape. TensorRT's engines run the products of more rows. ``linear.cu`` is the source,
``linear_tiling`` says how a product is split into tiles.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Mapping
from typing import Protocol

from predictor.runners.tensorrt.cuda_api import DeviceProperties, check, load_driver
from predictor.runners.tensorrt.kernels.launch import SOURCES, BoundKernel, Grid, Launch, bind
from predictor.runners.tensorrt.kernels.linear_tiling import (
    ITEM_BYTES,
    Tiling,
    WorkSplit,
    parts_offset,
    split_work,
    supports,
    tiling_for,
    token_tiles,
    workspace_bytes,
)
from predictor.runners.tensorrt.kernels.nvrtc import Compiler, Program
from predictor.runners.tensorrt.kernels.overlap import (
    DEPENDENT_LAUNCH_CAPABILITY,
    DependentLaunch,
    PrecedingLaunch,
)

SOURCE = "linear.cu"
HEADERS = ("linear_ptx.cuh", "ptx.cuh")
KERNEL = "linear"

_ROWS_OF_TILES = (8, 16, 32, 64)
"""The most rows for each number of token tiles."""


class LinearFunction(Protocol):
    """A compiled kernel."""

    @property
    def overlaps(self) -> bool:
        """Whether it reads weights while the preceding kernel still runs."""
        ...

    def __call__(self, grid: Grid, threads: int, stream: int, arguments: int) -> None:
        """Launch it; ``arguments`` is the address of an array of pointers to them, see cuLaunchKernel."""
        ...


def program(tiling: Tiling, dtype: str) -> Program:
    """The program to compile for one tiling and type of operands."""
    headers = {name: (SOURCES / name).read_text() for name in HEADERS}
    return Program(SOURCE, (SOURCES / SOURCE).read_text(), headers, tiling.macros(dtype))


def load_functions(
    weights: Iterable[tuple[str, int]],
    compiler: Compiler,
    properties: DeviceProperties,
    preceding: PrecedingLaunch | None = None,
) -> dict[tuple[str, Tiling], LinearFunction]:
    """Compile the kernels, or take them from the compiler's cache, and load them into the current context.

    Args:
        weights: type, ``float16`` or ``int8``, and number of rows of each weight that products will be bound to.
        compiler: for the GPU at hand.
        properties: the GPU's.
        preceding: last launch of the stream that they run on, for dependent launches, which read weights while the
            preceding kernel ends and save 1 to 2 us. GPUs without them ignore it. None: launches do not overlap.

    Returns:
        By type and tiling.

    Raises:
        StartupError: the kernel does not compile.
        CudaError: the driver cannot load it.
    """
    capability = properties.compute_capability
    functions: dict[tuple[str, Tiling], LinearFunction] = {}
    for (dtype, n), rows in itertools.product(sorted(set(weights)), _ROWS_OF_TILES):
        tiling = tiling_for(n, rows, properties.sm_count, capability)
        if (dtype, tiling) not in functions:
            cubin = compiler.compile(program(tiling, dtype))
            following = preceding if capability >= DEPENDENT_LAUNCH_CAPABILITY else None
            functions[dtype, tiling] = _load(tiling, cubin, following)
    return functions


def _load(tiling: Tiling, cubin: bytes, preceding: PrecedingLaunch | None) -> LinearFunction:
    driver = load_driver()
    action = f"loading {SOURCE}"
    module = check(driver.cuModuleLoadData(cubin), action)
    handle = check(driver.cuModuleGetFunction(module, KERNEL.encode()), action)
    shared = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    check(driver.cuFuncSetAttribute(handle, shared, tiling.shared_bytes), action)
    return DependentLaunch(handle, KERNEL, preceding, shared_bytes=tiling.shared_bytes)


class SkinnyLinears:
    """Skinny products on one stream. A launch allocates nothing and may be captured in a CUDA graph."""

    def __init__(
        self,
        functions: Mapping[tuple[str, Tiling], LinearFunction],
        properties: DeviceProperties,
        *,
        workspace: int,
    ) -> None:
        """Use loaded kernels.

        Args:
            functions: from :func:`load_functions`.
            properties: of the device or its slice.
            workspace: device address, ``workspace_bytes`` zeroed once by the caller, for this stream alone.
        """
        self._functions = functions
        self._properties = properties
        self._workspace = workspace

    @staticmethod
    def workspace_bytes(
        functions: Mapping[tuple[str, Tiling], LinearFunction], properties: DeviceProperties
    ) -> int:
        """Bytes of work space for every product, one after the other."""
        return max(workspace_bytes(tiling, properties.sm_count) for _, tiling in functions)

    def bind(self, *, x: int, weight: int, y: int, n: int, k: int, dtype: str) -> BoundKernel:
        """Bind a product to device addresses, aligned to 16 bytes, for launches with 1 to 64 rows.

        Args:
            x: [rows, k] of dtype.
            weight: [n, k] of dtype. No kernel that precedes a launch may write it, unless it has ended.
            y: out, [rows, n]: float16; of int8 operands float32, the integer sum times 2^-12.
            n: multiple of 8.
            k: multiple of 32 in float16, of 64 in int8.
            dtype: ``float16`` or ``int8``.

        Raises:
            ValueError: no kernel for this shape; ask :func:`linear_tiling.supports` first.
        """
        if not supports(n, k, 1, dtype):
            raise ValueError(f"the kernel for few rows cannot multiply with a {dtype} weight of {n} x {k}")
        rows_argument, run, overlaps = ctypes.c_int32(), ctypes.c_int32(), ctypes.c_int32()
        arguments = (
            *(y, x, weight, self._workspace),
            *(rows_argument, ctypes.c_int32(n), ctypes.c_int32(k * ITEM_BYTES[dtype]), run),
            *(ctypes.c_int32(parts_offset(self._properties.sm_count)), overlaps),
        )
        launches: dict[int, tuple[Launch, WorkSplit, bool]] = {}
        for most in _ROWS_OF_TILES:
            function, tiling, work = self._choose(n, k, most, dtype)
            launches[tiling.token_tiles] = (
                bind(function, tiling.threads, *arguments),
                work,
                function.overlaps,
            )

        def start(rows: int, stream: int) -> None:
            if rows:
                launch, work, overlapping = launches[token_tiles(rows)]
                rows_argument.value, run.value, overlaps.value = rows, work.run, overlapping
                launch((work.blocks, 1, 1), stream)

        return start

    def _choose(self, n: int, k: int, rows: int, dtype: str) -> tuple[LinearFunction, Tiling, WorkSplit]:
        sm_count = self._properties.sm_count
        tiling = tiling_for(n, rows, sm_count, self._properties.compute_capability)
        return self._functions[dtype, tiling], tiling, split_work(n, k, dtype, tiling, sm_count)
