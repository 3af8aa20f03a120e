"""Runs the CUDA kernels on the host: compiled as C++, threads as coroutines. For index arithmetic, not for speed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

from predictor.runners.tensorrt.kernel_shape import KernelShape
from predictor.runners.tensorrt.launch import PROGRAMS, Grid, KernelFunction, programs

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")


def emulate(shape: KernelShape, directory: Path, *, seed: int) -> dict[str, KernelFunction]:
    """Compile the kernels for ``shape`` in ``directory``; ``seed`` decides in which order threads and blocks run."""
    assert COMPILER is not None
    functions: dict[str, KernelFunction] = {}
    for program in programs(shape):
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
            functions[kernel] = _function(getattr(loaded, f"emulate_{kernel}"), seed)
    return functions


def _function(emulated: ctypes._NamedFuncPointer, seed: int) -> KernelFunction:
    emulated.restype = None
    emulated.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

    def start(grid: Grid, threads: int, stream: int, arguments: int) -> None:
        emulated((ctypes.c_int * 3)(*grid), threads, seed, arguments)

    return start
