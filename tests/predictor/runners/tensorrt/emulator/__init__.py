"""Runs the CUDA kernels on the host: compiled as C++, threads as coroutines. For index arithmetic, not for speed."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from predictor.runners.tensorrt.kernels.launch import PROGRAMS, Grid, KernelFunction, programs
from predictor.runners.tensorrt.kernels.nvrtc import Program
from predictor.runners.tensorrt.kernels.overlap import DEPENDENT_KERNELS
from predictor.runners.tensorrt.kernels.shape import KernelShape

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
HEADER = "emulation.h"
# Threads jump between stacks, which _FORTIFY_SOURCE takes for a fault.
OPTIONS = ("-std=c++17", "-O1", "-w", "-fPIC", "-U_FORTIFY_SOURCE")


Memory = Callable[[], Iterable[tuple[int, int]]]
"""Addresses and sizes."""


def nothing() -> Iterable[tuple[int, int]]:
    return ()


@dataclass(slots=True)
class PrecedingLaunch:
    """The kernel in front of each launch, which has not ended when the launch begins."""

    writes: Memory = nothing


def emulate(
    shape: KernelShape, *, seed: int, overlaps: bool = False, preceding: PrecedingLaunch | None = None
) -> dict[str, KernelFunction]:
    """Compile the kernels for ``shape``.

    Args:
        shape: what for.
        seed: decides in which order threads and blocks run.
        overlaps: whether they are compiled for launches that overlap.
        preceding: what those that may overlap find under way; without it nothing is.
    """
    functions: dict[str, KernelFunction] = {}
    for program in programs(shape, overlaps=overlaps):
        kernels = PROGRAMS[program.name]
        library = load_emulated(program, "".join(f"EMULATED({kernel})\n" for kernel in kernels))
        for kernel in kernels:
            following = preceding if kernel in DEPENDENT_KERNELS else None
            functions[kernel] = _function(library, kernel, seed, following or PrecedingLaunch())
    return functions


def load_emulated(program: Program, wrappers: str) -> ctypes.CDLL:
    """Compile a program for the host, or take what was compiled before in this process.

    Args:
        program: with any headers but those of :data:`HERE`, which stand in for some.
        wrappers: functions that start its kernels.
    """
    assert COMPILER is not None
    directory = _directory()
    for name, text in program.headers.items():
        if not (HERE / name).exists():
            (directory / name).write_text(text)
    text = f"{program.source}\n{wrappers}"
    key = hashlib.sha256(repr((text, program.options)).encode()).hexdigest()[:16]
    library = directory / f"{program.name}.{key}.so"
    if not library.exists():
        source = library.with_suffix(".cpp")
        source.write_text(text)
        # The compiler takes the header that is compiled already if nothing stands before it.
        options = (*OPTIONS, *program.options, "-include", HEADER, "-shared", "-o", str(library))
        subprocess.run([COMPILER, *options, str(source)], check=True, cwd=directory)
    return ctypes.CDLL(str(library))


@functools.cache
def _directory() -> Path:
    """Where this process compiles kernels: with the emulation's header, compiled once, since it costs most."""
    directory = Path(tempfile.mkdtemp(prefix="emulator-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    for path in HERE.glob("*.*h"):
        shutil.copy(path, directory / path.name)
    subprocess.run([str(COMPILER), *OPTIONS, "-x", "c++-header", HEADER], check=True, cwd=directory)
    return directory


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
