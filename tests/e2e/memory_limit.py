"""A process within a memory limit: a cgroup where one can be made, else its resident memory is watched."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A limit that a process joins by :attr:`join` before it starts its program."""

    kind: str
    join: Callable[[], None]
    peak_bytes: Callable[[], int]


@contextmanager
def memory_limit(max_bytes: int, pid: Callable[[], int]) -> Iterator[MemoryLimit]:
    """A limit of ``max_bytes``: the kernel kills a process that exceeds it.

    Without the right to make a cgroup the process with ``pid()`` is only measured; the test compares the peak.
    """
    group = _version_2(max_bytes) or _version_1(max_bytes)
    if group is None:
        yield from _watched(pid)
        return
    folder, peak = group
    try:
        yield MemoryLimit(
            f"cgroup {folder}",
            lambda: _write(f"{folder}/cgroup.procs", str(os.getpid())),
            lambda: int(peak.read_text()),
        )
    finally:
        with suppress(OSError):
            folder.rmdir()


def _watched(pid: Callable[[], int]) -> Iterator[MemoryLimit]:
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL_S):
            with suppress(psutil.Error, ProcessLookupError, ValueError):
                peak[0] = max(peak[0], psutil.Process(pid()).memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield MemoryLimit("resident memory", lambda: None, lambda: peak[0])
    finally:
        stop.set()
        thread.join()


def _version_2(max_bytes: int) -> tuple[Path, Path] | None:
    return _made(_ROOT / f"yiwen-{os.getpid()}", "memory.max", max_bytes, "memory.peak")


def _version_1(max_bytes: int) -> tuple[Path, Path] | None:
    folder = _ROOT / "memory" / f"yiwen-{os.getpid()}"
    return _made(folder, "memory.limit_in_bytes", max_bytes, "memory.max_usage_in_bytes")


def _made(folder: Path, limit: str, max_bytes: int, peak: str) -> tuple[Path, Path] | None:
    """A new cgroup with a limit, and the file of its peak; None if it cannot be made."""
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        if (folder / peak).exists():
            _write(f"{folder}/{limit}", str(max_bytes))
            return folder, folder / peak
    except OSError:
        pass
    folder.rmdir()
    return None


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:  # an existing file of the kernel
        file.write(value)
