"""Loads the CUDA kernels and binds them to their arguments.

Binding packs the arguments of a launch once. Launching a bound kernel takes a few microseconds, allocates nothing,
never waits, and may be captured in a CUDA graph. ``attention``, ``fused`` and ``linear`` know the arguments.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from predictor.runners.tensorrt.cuda_api import check, load_driver
from predictor.runners.tensorrt.kernels.nvrtc import Compiler, Program
from predictor.runners.tensorrt.kernels.overlap import DEPENDENT_KERNELS, DependentLaunch, PrecedingLaunch
from predictor.runners.tensorrt.kernels.shape import KernelShape

SOURCES = Path(__file__).parent

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "rows.cu": ("choose_tokens", "write_kv"),
    "fused.cu": ("embed_norm", "add_norm", "silu_mul", "gather_rows"),
    "decode_attention.cu": ("decode_attention",),
    "prefill_attention.cu": ("prefill_attention",),
    "candidates.cu": ("candidates",),
}
"""Kernels by source file."""

Grid: TypeAlias = tuple[int, int, int]
BoundKernel: TypeAlias = Callable[[int, int], None]
"""Launches a kernel bound to its arguments: (rows, stream). With no rows it does nothing."""
KernelArgument: TypeAlias = (
    "ctypes.c_uint64 | ctypes.c_int32 | ctypes.c_float | ctypes.Array[ctypes.c_uint64]"
)
"""An argument of a kernel; an array is a struct of pointers."""


class KernelFunction(Protocol):
    """A compiled kernel."""

    def __call__(self, grid: Grid, threads: int, stream: int, arguments: int) -> None:
        """Launch it; ``arguments`` is the address of an array of pointers to them, see cuLaunchKernel."""
        ...


def programs(shape: KernelShape, *, overlaps: bool = False) -> list[Program]:
    """The programs to compile for ``shape``.

    Args:
        shape: of the model.
        overlaps: whether they are compiled for dependent launches.
    """
    headers = {path.name: path.read_text() for path in sorted(SOURCES.glob("*.cuh"))}
    macros = (*shape.macros(), f"-DOVERLAPS={int(overlaps)}")
    return [Program(name, (SOURCES / name).read_text(), headers, macros) for name in PROGRAMS]


def load_functions(
    shape: KernelShape, compiler: Compiler, preceding: PrecedingLaunch | None = None
) -> dict[str, KernelFunction]:
    """Compile the kernels, or take them from the compiler's cache, and load them into the current context.

    Args:
        shape: of the model.
        compiler: for the GPU at hand.
        preceding: last launch of the stream that they run on; None: launches do not overlap, as on a GPU below
            ``DEPENDENT_LAUNCH_CAPABILITY``.

    Raises:
        StartupError: a kernel does not compile.
        CudaError: the driver cannot load it.
    """
    driver = load_driver()
    functions: dict[str, KernelFunction] = {}
    for program in programs(shape, overlaps=preceding is not None):
        action = f"loading {program.name}"
        module = check(driver.cuModuleLoadData(compiler.compile(program)), action)
        for name in PROGRAMS[program.name]:
            handle = check(driver.cuModuleGetFunction(module, name.encode()), action)
            functions[name] = kernel_function(name, handle, preceding)
    return functions


def kernel_function(name: str, handle: object, preceding: PrecedingLaunch | None) -> KernelFunction:
    """The function that launches a loaded kernel.

    Args:
        name: of the kernel.
        handle: the driver's CUfunction.
        preceding: last launch of the stream that it runs on; None: launches do not overlap.
    """
    if preceding is not None and name in DEPENDENT_KERNELS:
        return DependentLaunch(handle, name, preceding)
    launch_kernel = load_driver().cuLaunchKernel
    action = f"starting {name}"

    def start(grid: Grid, threads: int, stream: int, arguments: int) -> None:
        check(launch_kernel(handle, *grid, threads, 1, 1, 0, stream, arguments, 0), action)

    def start_ordinary(grid: Grid, threads: int, stream: int, arguments: int) -> None:
        start(grid, threads, stream, arguments)
        if preceding is not None:
            preceding.allows_overlap = False

    return start if preceding is None else start_ordinary


class Launch:
    """A kernel with packed arguments, which it keeps alive: a launch reads them in place."""

    __slots__ = ("_address", "_arguments", "_function", "_pointers", "_threads")

    def __init__(self, function: KernelFunction, threads: int, packed: list[KernelArgument]) -> None:
        self._function = function
        self._threads = threads
        self._arguments = packed
        self._pointers = (ctypes.c_void_p * len(packed))(*(ctypes.addressof(box) for box in packed))
        self._address = ctypes.addressof(self._pointers)

    def __call__(self, grid: Grid, stream: int) -> None:
        self._function(grid, self._threads, stream, self._address)


def bind(function: KernelFunction, threads: int, *arguments: int | KernelArgument) -> Launch:
    """Pack arguments, of which integers are addresses. Changing an argument's value changes the next launch.

    Args:
        function: the kernel.
        threads: of a block.
        arguments: in the kernel's order.
    """
    packed = [ctypes.c_uint64(value) if isinstance(value, int) else value for value in arguments]
    return Launch(function, threads, packed)


def pointer_struct(*addresses: int) -> KernelArgument:
    """A kernel argument that is a struct of pointers."""
    return (ctypes.c_uint64 * len(addresses))(*addresses)
