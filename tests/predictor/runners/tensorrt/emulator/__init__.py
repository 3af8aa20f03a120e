"""Runs the CUDA kernels on the host: compiled as C++, threads as coroutines. For index arithmetic, not for speed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from predictor.runners.tensorrt.kernels.launch import PROGRAMS, Grid, KernelFunction, programs
from predictor.runners.tensorrt.kernels.overlap import DEPENDENT_KERNELS
from predictor.runners.tensorrt.kernels.shape import KernelShape

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")


Memory = Callable[[], Iterable[tuple[int, int]]]
"""Addresses and sizes."""


def nothing() -> Iterable[tuple[int, int]]:
    return ()


@dataclass(slots=True)
class PrecedingLaunch:
    """The kernel in front of each launch, which has not ended when the launch begins."""

    writes: Memory = nothing


def emulate(
    shape: KernelShape,
    directory: Path,
    *,
    seed: int,
    overlaps: bool = False,
    preceding: PrecedingLaunch | None = None,
) -> dict[str, KernelFunction]:
    """Compile the kernels for ``shape`` in ``directory``.

    Args:
        shape: what for.
        directory: empty.
        seed: decides in which order threads and blocks run.
        overlaps: whether they are compiled for launches that overlap.
        preceding: what those that may overlap find under way; without it nothing is.
    """
    assert COMPILER is not None
    functions: dict[str, KernelFunction] = {}
    for program in programs(shape, overlaps=overlaps):
        for name, text in program.headers.items():
            (directory / name).write_text(text)
        for name in ("emulation.h", "ptx.cuh"):
            shutil.copy(HERE / name, directory / name)
        kernels = PROGRAMS[program.name]
        wrappers = "".join(f"EMULATED({kernel})\n" for kernel in kernels)
        source = directory / f"{program.name}.cpp"
        source.write_text(f'#include "emulation.h"\n{program.source}\n{wrappers}')
        library = directory / f"{program.name}.so"
        command = [COMPILER, "-std=c++17", "-O1", "-w", "-shared", "-fPIC", *program.options]
        subprocess.run([*command, "-o", library, source], check=True)
        loaded = ctypes.CDLL(str(library))
        for kernel in kernels:
            following = preceding if kernel in DEPENDENT_KERNELS else None
            functions[kernel] = _function(loaded, kernel, seed, following or PrecedingLaunch())
    return functions


def declare_unwritten(library: ctypes.CDLL, memory: Iterable[tuple[int, int]]) -> None:
    """Say what the kernel in front of the next launch is still writing."""
    regions = list(memory)
    addresses = (ctypes.c_void_p * len(regions))(*(address for address, _ in regions))
    sizes = (ctypes.c_size_t * len(regions))(*(nbytes for _, nbytes in regions))
    library.emulate_unwritten(addresses, sizes, len(regions))


def _function(library: ctypes.CDLL, kernel: str, seed: int, preceding: PrecedingLaunch) -> KernelFunction:
    emulated = getattr(library, f"emulate_{kernel}")
    emulated.restype = None
    emulated.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

    def start(grid: Grid, threads: int, stream: int, arguments: int) -> None:
        declare_unwritten(library, preceding.writes())
        emulated((ctypes.c_int * 3)(*grid), threads, seed, arguments)

    return start
