"""Compiles CUDA sources for the GPU at hand with NVRTC and caches the binaries in a directory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from predictor.errors import StartupError
from predictor.runners.tensorrt.cuda_api import check, load_nvrtc
from protocol.files import write_atomically

log = logging.getLogger(__name__)

LANGUAGE = ("--std=c++17",)


@dataclass(frozen=True, slots=True)
class Program:
    """The source of one binary."""

    name: str
    """Of the source file, for messages."""
    source: str
    headers: Mapping[str, str]
    """Text of each file that the source or another header includes, by the name it is included by."""
    options: tuple[str, ...]
    """For the compiler, e.g. ``-DHEADS=32``; the architecture is added."""


class Compiler:
    """Compiles programs for one architecture, or reads them from the cache."""

    def __init__(self, compute_capability: tuple[int, int], cache: Path | None) -> None:
        """Ask NVRTC for its version, which is part of the cache's key.

        Args:
            compute_capability: of the GPU, e.g. (9, 0).
            cache: directory of compiled kernels, made where it does not exist; None compiles at every start.

        Raises:
            StartupError: cuda-python or NVRTC is not installed.
        """
        self._nvrtc = load_nvrtc()
        try:
            version = check(self._nvrtc.nvrtcVersion(), "asking for NVRTC's version")
        except RuntimeError as error:  # cuda-python's, where the library behind it is missing
            raise StartupError(
                f"NVRTC is not installed: {error}; pip install '.[tensorrt]' in a checkout of Yiwen"
            ) from error
        self._version = ".".join(str(part) for part in version)
        self._architecture = "sm_{}{}".format(*compute_capability)
        self._cache = cache

    def compile(self, program: Program) -> bytes:
        """The program's cubin.

        Raises:
            StartupError: NVRTC refuses the program or does not know the architecture; the message carries its log.
        """
        name = f"{cache_key(program, self._version, self._architecture)}.cubin"
        cubin = self._read(name)
        if cubin is None:
            cubin = self._compile(program)
            self._write(name, cubin)
        return cubin

    def _compile(self, program: Program) -> bytes:
        nvrtc = self._nvrtc
        action = f"compiling {program.name}"
        headers = [text.encode() for text in program.headers.values()]
        names = [name.encode() for name in program.headers]
        architecture = f"--gpu-architecture={self._architecture}"
        options = [option.encode() for option in (*LANGUAGE, architecture, *program.options)]
        created = nvrtc.nvrtcCreateProgram(
            program.source.encode(), program.name.encode(), len(headers), headers, names
        )
        handle = check(created, action)
        try:
            if int(nvrtc.nvrtcCompileProgram(handle, len(options), options)[0]):
                raise StartupError(
                    f"NVRTC {self._version} cannot compile {program.name} for {self._architecture}: "
                    f"{_compile_log(nvrtc, handle)}; a GPU newer than NVRTC needs a newer one: "
                    "pip install --upgrade '.[tensorrt]' in a checkout of Yiwen"
                )
            # Two bytes or more: Python shares objects of one byte, and NVRTC writes into this one.
            cubin = bytes(max(2, check(nvrtc.nvrtcGetCUBINSize(handle), action)))
            check(nvrtc.nvrtcGetCUBIN(handle, cubin), action)
            return cubin
        finally:
            nvrtc.nvrtcDestroyProgram(handle)

    def _read(self, name: str) -> bytes | None:
        if self._cache is None:
            return None
        try:
            return (self._cache / name).read_bytes()
        except OSError:  # missing or unreadable: it is compiled again
            return None

    def _write(self, name: str, cubin: bytes) -> None:
        if self._cache is None:
            return
        try:
            write_atomically(self._cache / name, cubin)
        except OSError as error:
            log.warning(
                "cannot keep compiled kernels, so every start compiles them: %s; "
                "let YIWEN_CACHE_DIR name a directory that can be written",
                error,
            )
            self._cache = None  # one message is enough


def cache_key(program: Program, nvrtc_version: str, architecture: str) -> str:
    """Hexadecimal digest of everything that a compiled program depends on.

    Args:
        program: to compile.
        nvrtc_version: of the compiler.
        architecture: e.g. ``sm_90``.
    """
    parts = [
        program.source,
        sorted(program.headers.items()),
        [*LANGUAGE, *program.options],
        nvrtc_version,
        architecture,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _compile_log(nvrtc: ModuleType, handle: object) -> str:
    text = bytes(max(2, check(nvrtc.nvrtcGetProgramLogSize(handle), "reading NVRTC's log")))
    check(nvrtc.nvrtcGetProgramLog(handle, text), "reading NVRTC's log")
    return text.rstrip(b"\0").decode(errors="replace").strip()
