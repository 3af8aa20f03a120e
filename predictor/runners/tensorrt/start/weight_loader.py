"""Copies a plan's weights to the GPU: several threads read chunks of the file and copy them while they read on.

The host never holds more than the threads' buffers. Each thread copies with its own :class:`DeviceWriter`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from predictor.errors import StartupError
from predictor.runners.tensorrt import cuda_api as cuda

READERS = 4
"""Reading threads. One saturates neither a PCIe 5 link from the page cache nor a network volume."""
CHUNK_BYTES = 16 * 2**20
"""Of one read and one copy: large enough to amortize their overhead."""
BUFFERS = 2
"""Per thread: one is read into while the other is copied."""
PROGRESS_S = 2.0

logger = logging.getLogger(__name__)


class DeviceWriter(Protocol):
    """Host buffers of one thread and their copies to the device. Created and used by that thread."""

    @property
    def buffers(self) -> Sequence[memoryview]:
        """Host buffers, all of one size."""
        ...

    def send(self, buffer: int, offset: int, nbytes: int) -> None:
        """Start to copy the first ``nbytes`` of a buffer to ``offset`` on the device.

        Args:
            buffer: index in :attr:`buffers`.
            offset: in bytes, on the device.
            nbytes: at most the buffer's size.
        """
        ...

    def wait(self, buffer: int) -> None:
        """Wait for the last copy from a buffer."""
        ...

    def close(self) -> None:
        """Wait for all copies and free the buffers."""
        ...


class CudaWriter:
    """Copies through pinned buffers on a stream of its own."""

    def __init__(self, target: int) -> None:
        """Copy to the allocation at device address ``target``."""
        cuda.set_device()
        self._target = target
        self._stream = cuda.create_stream()
        self._memory = [cuda.PinnedMemory(CHUNK_BYTES) for _ in range(BUFFERS)]
        self._copied = [cuda.create_event(blocking=True) for _ in range(BUFFERS)]

    @property
    def buffers(self) -> Sequence[memoryview]:
        return [memory.array.data for memory in self._memory]

    def send(self, buffer: int, offset: int, nbytes: int) -> None:
        cuda.copy_to_device(self._target + offset, self._memory[buffer].address, nbytes, self._stream)
        cuda.record_event(self._copied[buffer], self._stream)

    def wait(self, buffer: int) -> None:
        cuda.synchronize_event(self._copied[buffer])

    def close(self) -> None:
        cuda.synchronize_stream(self._stream)
        for event, memory in zip(self._copied, self._memory, strict=True):
            cuda.destroy_event(event)
            memory.close()
        cuda.destroy_stream(self._stream)


def load(
    path: Path, offset: int, nbytes: int, open_writer: Callable[[], DeviceWriter], *, readers: int = READERS
) -> float:
    """Copy ``[offset, offset + nbytes)`` of a file to offset 0 on the device, and log the progress.

    Args:
        path: the plan file.
        offset: first byte.
        nbytes: how many.
        open_writer: called once in each reading thread.
        readers: threads.

    Returns:
        Seconds it took.

    Raises:
        StartupError: the file cannot be read or is too short.
        CudaError: a copy failed.
    """
    started = time.monotonic()
    job = _LoadJob(path, offset, nbytes, readers)
    with ThreadPoolExecutor(readers, "weights") as pool:
        threads = [pool.submit(job.run, index, open_writer) for index in range(readers)]
        _watch(job, threads, started)
    for thread in threads:
        thread.result()
    seconds = time.monotonic() - started
    _log("weights loaded", job.done, nbytes, seconds)
    return seconds


class _LoadJob:
    """The state that the reading threads share."""

    def __init__(self, path: Path, offset: int, nbytes: int, readers: int) -> None:
        self._path = path
        self._offset = offset
        self.nbytes = nbytes
        self._readers = readers
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self.done = 0
        """Bytes whose copy has started."""

    def run(self, index: int, open_writer: Callable[[], DeviceWriter]) -> None:
        """Read and copy every ``readers``-th chunk; the body of one thread."""
        try:
            file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise StartupError(f"{self._path} cannot be read: {error}; copy the plan again") from error
        try:
            writer = open_writer()
            try:
                self._copy_chunks(file, writer, index)
            finally:
                writer.close()
        except BaseException:
            self._failed.set()
            raise
        finally:
            os.close(file)

    def _copy_chunks(self, file: int, writer: DeviceWriter, index: int) -> None:
        buffers = writer.buffers
        mine = chunks(self.nbytes, len(buffers[0]), first=index, step=self._readers)
        for turn, (start, nbytes) in enumerate(mine):
            if self._failed.is_set():
                return
            buffer = turn % len(buffers)
            if turn >= len(buffers):
                writer.wait(buffer)
            self._read(file, buffers[buffer][:nbytes], self._offset + start)
            writer.send(buffer, start, nbytes)
            with self._lock:
                self.done += nbytes

    def _read(self, file: int, into: memoryview, offset: int) -> None:
        filled = 0
        while filled < len(into):
            try:
                count = os.preadv(file, [into[filled:]], offset + filled)
            except OSError as error:
                raise StartupError(f"{self._path} cannot be read: {error}; copy the plan again") from error
            if count == 0:
                # Not where this reader is: it may have begun behind the end.
                end = os.fstat(file).st_size
                raise StartupError(f"{self._path} ends at byte {end:,}; copy the plan again")
            filled += count


def chunks(nbytes: int, chunk: int, *, first: int, step: int) -> Iterator[tuple[int, int]]:
    """Offset and size of every ``step``-th chunk.

    Args:
        nbytes: of all chunks.
        chunk: bytes of one.
        first: number of the first chunk.
        step: between two chunks.
    """
    for start in range(first * chunk, nbytes, step * chunk):
        yield start, min(chunk, nbytes - start)


def _watch(job: _LoadJob, threads: Sequence[Future[None]], started: float) -> None:
    """Log progress until all have ended or one has failed."""
    while wait(threads, PROGRESS_S, FIRST_EXCEPTION).not_done:
        if any(thread.done() and thread.exception() for thread in threads):
            return
        _log("loading weights", job.done, job.nbytes, time.monotonic() - started)


def _log(what: str, done: int, nbytes: int, seconds: float) -> None:
    facts = {
        "bytes": done,
        "of_bytes": nbytes,
        "seconds": round(seconds, 2),
        "gigabytes_per_second": round(done / 1e9 / max(seconds, 1e-9), 2),
    }
    logger.info(what, extra={"fields": facts})
