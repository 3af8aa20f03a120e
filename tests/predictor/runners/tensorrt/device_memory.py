"""Kernel cases' memory and kernels on a real GPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.runners.tensorrt import cuda_api
from predictor.runners.tensorrt.kernels.launch import Grid, KernelFunction
from tests.predictor.runners.tensorrt.bench import STREAM, Buffer


@dataclass(slots=True)
class DeviceMemory:
    """Allocations of the device, given back by :meth:`close`."""

    addresses: list[int] = field(default_factory=list)

    def put(self, array: npt.NDArray[Any]) -> Buffer:
        array = np.ascontiguousarray(array)
        address = cuda_api.malloc(max(array.nbytes, 16), "a test")
        self.addresses.append(address)
        cuda_api.copy_to_device(address, array.ctypes.data, array.nbytes, STREAM)
        cuda_api.synchronize()
        return Buffer(address, array.shape, array.dtype)

    def get(self, buffer: Buffer) -> npt.NDArray[Any]:
        array = np.empty(buffer.shape, buffer.dtype)
        cuda_api.synchronize()
        cuda_api.copy_to_host(array.ctypes.data, buffer.address, array.nbytes, STREAM)
        cuda_api.synchronize()
        return array

    def close(self) -> None:
        for address in self.addresses:
            cuda_api.free(address)
        self.addresses.clear()


def replayed(function: KernelFunction) -> KernelFunction:
    """The kernel, but captured into a graph that then runs twice."""

    def start(grid: Grid, threads: int, stream: int, arguments: int) -> None:
        cuda_api.synchronize()
        own = cuda_api.create_stream()
        graph = cuda_api.capture(own, lambda: function(grid, threads, own, arguments))
        try:
            for _ in range(2):
                cuda_api.launch_graph(graph, own)
            cuda_api.synchronize_stream(own)
        finally:
            cuda_api.destroy_graph(graph)
            cuda_api.destroy_stream(own)

    return start
