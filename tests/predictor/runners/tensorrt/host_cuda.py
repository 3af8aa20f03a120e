"""CUDA on the host: addresses are those of host memory, and what is started is done at once.

With it and the emulated kernels, all of :mod:`predictor.runners.tensorrt` but TensorRT itself runs without a GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from predictor.runners.tensorrt import cuda_api
from predictor.runners.tensorrt.kernels.launch import Grid, KernelFunction

STREAM = 5


class HostCuda:
    """Stands in for the functions of :mod:`predictor.runners.tensorrt.cuda_api`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.memory: dict[int, npt.NDArray[np.uint8]] = {}
        """What is allocated, by address."""
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        for name in (
            "malloc",
            "free",
            "copy_to_device",
            "copy_to_host",
            "copy_on_device",
            "fill",
            "capture",
            "launch_graph",
        ):
            monkeypatch.setattr(cuda_api, name, getattr(self, name))
        for name in ("set_device", "synchronize", "synchronize_event", "record_event", "synchronize_stream"):
            monkeypatch.setattr(cuda_api, name, lambda *_: None)
        for name in ("destroy_graph", "destroy_event", "destroy_stream"):
            monkeypatch.setattr(cuda_api, name, lambda *_: None)
        monkeypatch.setattr(cuda_api, "mem_info", lambda: (2**34, 2**34))
        monkeypatch.setattr(cuda_api, "create_event", lambda **_: 1)
        monkeypatch.setattr(cuda_api, "create_stream", lambda: STREAM)
        monkeypatch.setattr(cuda_api, "PinnedMemory", _PinnedMemory)

    def malloc(self, nbytes: int, purpose: str) -> int:
        """Memory of ones: NaN in any float type, and far off as an index."""
        block = np.full(nbytes + 256, 0xFF, np.uint8)
        address = -(-block.ctypes.data // 256) * 256
        self.memory[address] = block
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    def copy_to_device(self, device: int, host: int, nbytes: int, stream: int) -> None:
        assert stream == STREAM
        ctypes.memmove(device, host, nbytes)

    def copy_to_host(self, host: int, device: int, nbytes: int, stream: int) -> None:
        assert stream == STREAM
        ctypes.memmove(host, device, nbytes)

    def copy_on_device(self, to: int, source: int, nbytes: int, stream: int) -> None:
        assert stream == STREAM
        ctypes.memmove(to, source, nbytes)

    def fill(self, device: int, byte: int, nbytes: int, stream: int) -> None:
        ctypes.memset(device, byte, nbytes)

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        assert stream == STREAM
        self.recording = []
        work()
        self._graphs[len(self._graphs) + 1], self.recording = self.recording, None
        return len(self._graphs)

    def launch_graph(self, graph: int, stream: int) -> None:
        assert stream == STREAM
        for work in self._graphs[graph]:
            work()

    def start(self, work: Callable[[], None]) -> None:
        """Do it, or record it for a graph."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def kernel(self, function: KernelFunction) -> KernelFunction:
        """An emulated kernel that a graph can hold. Its arguments are read when the graph runs."""

        def start(grid: Grid, threads: int, stream: int, arguments: int) -> None:
            assert stream == STREAM
            self.start(lambda: function(grid, threads, stream, arguments))

        return start


class _PinnedMemory:
    def __init__(self, nbytes: int) -> None:
        self.array = np.full(nbytes, 0xFF, np.uint8)
        self.address = self.array.ctypes.data

    def close(self) -> None:
        self.array = self.array[:0]


class HostEngine:
    """y = x W^T as the plans' engines do it, in float16 or int8."""

    memory_bytes = 512

    def __init__(self, cuda: HostCuda, dtype: str, width: int) -> None:
        """``width`` is the columns of y."""
        self.cuda = cuda
        self.dtype = dtype
        self.width = width

    def create_context(self) -> HostContext:
        return HostContext(self)


class HostContext:
    """Refuses to run before it was told everything, as TensorRT's does."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()

    def set_memory(self, address: int, nbytes: int) -> None:
        assert address % 256 == 0
        assert nbytes >= HostEngine.memory_bytes

    def set_profile(self, index: int, stream: int) -> None:
        assert stream == STREAM

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        assert name == "x"
        self._shape = tuple(shape)

    def set_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def enqueue(self, stream: int) -> None:
        assert stream == STREAM
        engine, addresses, (rows, inner) = self._engine, dict(self._addresses), self._shape
        int8 = engine.dtype == "int8"

        def multiply() -> None:
            x = _view(addresses["x"], (rows, inner), engine.dtype).astype(np.float32)
            weight = _view(addresses["weight"], (engine.width, inner), engine.dtype).astype(np.float32)
            y = _view(addresses["y"], (rows, engine.width), "float32" if int8 else "float16")
            y[:] = x @ weight.T * (2.0**-12 if int8 else 1.0)

        engine.cuda.start(multiply)


def _view(address: int, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    values: npt.NDArray[Any] = np.frombuffer(memoryview(memory), dtype).reshape(shape)
    return values
