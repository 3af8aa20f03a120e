"""The only module that imports cuda-python: thin, checked calls of the CUDA runtime.

cuda-python has its modules in ``cuda.bindings`` since 12.8 and in ``cuda`` before; both work. Importing this module
needs neither cuda-python nor a GPU: the first call reports which is missing.

Addresses, streams, events and graphs are plain integers, as TensorRT and the kernels take them. The first visible
device is used and no other, so a MIG slice named by ``CUDA_VISIBLE_DEVICES`` is simply the device.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from predictor.errors import RunnerError, StartupError

DEVICE = 0
"""Which of the visible devices: CUDA_VISIBLE_DEVICES decides what that is."""


Values: TypeAlias = Any
"""Return values of cuda-python, which has no types for them."""


class CudaError(RunnerError):
    """A call of CUDA failed.

    ``name`` is CUDA's, e.g. ``cudaErrorMemoryAllocation``; ``action`` says what the caller was doing.
    """

    def __init__(self, name: str, text: str, action: str) -> None:
        super().__init__(f"CUDA failed while {action}: {name}: {text}")
        self.name = name
        self.action = action


@dataclass(frozen=True, slots=True)
class DeviceProperties:
    """The device as CUDA sees it: a MIG slice shows its own multiprocessors and memory, not its parent's."""

    name: str
    uuid: str
    """Hexadecimal, in groups of 8-4-4-4-12."""
    compute_capability: tuple[int, int]
    sm_count: int
    total_bytes: int
    driver_version: str
    """Newest CUDA that the driver supports, e.g. ``13.0``."""


def load_driver() -> ModuleType:
    """cuda-python's module of the driver API; StartupError if it is not installed."""
    return load_module("driver", "cuda")


def load_runtime() -> ModuleType:
    """cuda-python's module of the runtime API; StartupError if it is not installed."""
    return load_module("runtime", "cudart")


def load_nvrtc() -> ModuleType:
    """cuda-python's module of the run-time compiler; StartupError if it is not installed."""
    return load_module("nvrtc", "nvrtc")


@cache
def load_module(name: str, old_name: str) -> ModuleType:
    for module in (f"cuda.bindings.{name}", f"cuda.{old_name}"):
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    raise StartupError("cuda-python is not installed: pip install '.[tensorrt]' in a checkout of Yiwen")


def check(result: tuple[Any, ...], action: str) -> Values:
    """Check the status of a call of cuda-python and return its value, its values as a tuple, or None.

    Args:
        result: what the call returned: a status of the runtime, the driver or the compiler, then values.
        action: for the message, e.g. ``recording an event``.

    Raises:
        CudaError: the status is not success.
    """
    status = result[0]
    if status:
        raise CudaError(status.name, _text(status), action)
    if len(result) == 2:
        return result[1]
    return result[1:] or None


def _text(status: IntEnum) -> str:
    """CUDA's own words for a status."""
    describe, module = {
        "cudaError_t": ("cudaGetErrorString", load_runtime),
        "CUresult": ("cuGetErrorString", load_driver),
        "nvrtcResult": ("nvrtcGetErrorString", load_nvrtc),
    }[type(status).__name__]
    try:
        text = getattr(module(), describe)(status)[1]
    except RuntimeError:  # the library is missing, which the status says too
        text = None
    return text.decode() if isinstance(text, bytes) else f"status {int(status)}"


def device_properties() -> DeviceProperties:
    """Make the device current for this thread and describe it.

    Raises:
        StartupError: cuda-python is not installed.
        CudaError: there is no driver or no device, or the driver is too old for cuda-python's CUDA.
    """
    cuda = load_runtime()
    check(cuda.cudaGetDeviceCount(), "looking for a GPU")
    set_device()
    properties = check(cuda.cudaGetDeviceProperties(DEVICE), "asking for the GPU's properties")
    digits = bytes(properties.uuid.bytes).hex()
    return DeviceProperties(
        name=properties.name.split(b"\0")[0].decode(),
        uuid="-".join(digits[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))),
        compute_capability=(properties.major, properties.minor),
        sm_count=properties.multiProcessorCount,
        total_bytes=properties.totalGlobalMem,
        driver_version=driver_version(),
    )


def driver_version() -> str:
    """Newest CUDA that the driver supports, e.g. ``13.0``; "" where there is no driver."""
    number = check(load_runtime().cudaDriverGetVersion(), "asking for the driver's version")
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def set_device() -> None:
    """Make the device current for the calling thread; each thread needs it once."""
    check(load_runtime().cudaSetDevice(DEVICE), "selecting the GPU")


def synchronize() -> None:
    """Wait for all work of the device; an error of earlier work is raised here."""
    check(load_runtime().cudaDeviceSynchronize(), "waiting for the GPU")


def mem_info() -> tuple[int, int]:
    """Bytes of the device's memory that are free, and all of them."""
    free, total = check(load_runtime().cudaMemGetInfo(), "asking for free memory")
    return int(free), int(total)


def malloc(nbytes: int, purpose: str) -> int:
    """Allocate device memory, aligned to at least 256 bytes; ``purpose`` is for the message."""
    action = f"allocating {nbytes:,} bytes of GPU memory for {purpose}"
    return int(check(load_runtime().cudaMalloc(nbytes), action))


def free(address: int) -> None:
    """Free device memory; waits for the device."""
    check(load_runtime().cudaFree(address), "freeing GPU memory")


class PinnedMemory:
    """Page-locked host memory, for asynchronous copies.

    Attributes:
        array: uint8 [nbytes].
        address: of its first byte.
    """

    def __init__(self, nbytes: int) -> None:
        action = f"allocating {nbytes:,} bytes of pinned host memory"
        self.address = int(check(load_runtime().cudaHostAlloc(nbytes, 0), action))
        memory = (ctypes.c_uint8 * nbytes).from_address(self.address)
        self.array: npt.NDArray[np.uint8] = np.ctypeslib.as_array(memory)

    def close(self) -> None:
        """Free it. ``array`` must not be used afterwards."""
        check(load_runtime().cudaFreeHost(self.address), "freeing pinned host memory")


def copy_to_device(device: int, host: int, nbytes: int, stream: int) -> None:
    """Start a copy from host to device; asynchronous if the host's memory is pinned.

    Args:
        device: address of the target in device memory.
        host: address of the source in host memory.
        nbytes: size of the copy.
        stream: CUDA stream handle.

    Raises:
        CudaError: the call fails.
    """
    _copy(device, host, nbytes, "cudaMemcpyHostToDevice", stream)


def copy_to_host(host: int, device: int, nbytes: int, stream: int) -> None:
    """Start a copy from device to host; asynchronous if the host's memory is pinned.

    Args:
        host: address of the target in host memory.
        device: address of the source in device memory.
        nbytes: size of the copy.
        stream: CUDA stream handle.

    Raises:
        CudaError: the call fails.
    """
    _copy(host, device, nbytes, "cudaMemcpyDeviceToHost", stream)


def copy_on_device(to: int, source: int, nbytes: int, stream: int) -> None:
    """Start a copy within the device.

    Args:
        to: address of the target in device memory.
        source: address of the source in device memory.
        nbytes: size of the copy.
        stream: CUDA stream handle.

    Raises:
        CudaError: the call fails.
    """
    _copy(to, source, nbytes, "cudaMemcpyDeviceToDevice", stream)


def _copy(to: int, source: int, nbytes: int, kind: str, stream: int) -> None:
    cuda = load_runtime()
    check(
        cuda.cudaMemcpyAsync(to, source, nbytes, getattr(cuda.cudaMemcpyKind, kind), stream), "copying memory"
    )


def fill(device: int, byte: int, nbytes: int, stream: int) -> None:
    """Start to set ``nbytes`` bytes of device memory to ``byte``.

    Args:
        device: address in device memory.
        byte: value, 0 to 255.
        nbytes: bytes to set.
        stream: CUDA stream handle.

    Raises:
        CudaError: the call fails.
    """
    check(load_runtime().cudaMemsetAsync(device, byte, nbytes, stream), "filling GPU memory")


def create_stream() -> int:
    """A stream that does not wait for the default one."""
    cuda = load_runtime()
    return int(check(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking), "creating a stream"))


def synchronize_stream(stream: int) -> None:
    """Wait for all work of a stream."""
    check(load_runtime().cudaStreamSynchronize(stream), "waiting for a stream")


def destroy_stream(stream: int) -> None:
    """Destroy a stream once its work is done."""
    check(load_runtime().cudaStreamDestroy(stream), "destroying a stream")


def create_event(*, timing: bool = False, blocking: bool = False) -> int:
    """Create an event.

    Args:
        timing: whether :func:`elapsed_seconds` may ask it; costs a little.
        blocking: whether waiting for it sleeps instead of spinning: slower by some microseconds, idle meanwhile.
    """
    cuda = load_runtime()
    flags = 0 if timing else cuda.cudaEventDisableTiming
    flags |= cuda.cudaEventBlockingSync if blocking else 0
    return int(check(cuda.cudaEventCreateWithFlags(flags), "creating an event"))


def record_event(event: int, stream: int) -> None:
    """Record ``event`` behind the work that the stream has now."""
    check(load_runtime().cudaEventRecord(event, stream), "recording an event")


def synchronize_event(event: int) -> None:
    """Wait for ``event``; returns at once if it was never recorded."""
    check(load_runtime().cudaEventSynchronize(event), "waiting for the GPU")


def elapsed_seconds(start: int, end: int) -> float:
    """Seconds between two completed events, to about half a microsecond."""
    return float(check(load_runtime().cudaEventElapsedTime(start, end), "reading a time")) / 1e3


def destroy_event(event: int) -> None:
    """Destroy an event."""
    check(load_runtime().cudaEventDestroy(event), "destroying an event")


def capture(stream: int, work: Callable[[], None]) -> int:
    """Capture the work that this thread gives to ``stream`` in ``work`` as a CUDA graph; nothing runs yet."""
    cuda = load_runtime()
    mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    check(cuda.cudaStreamBeginCapture(stream, mode), "beginning a graph")
    try:
        work()
    except BaseException:
        cuda.cudaStreamEndCapture(stream)  # the error is raised below; this makes the stream usable again
        raise
    graph = check(cuda.cudaStreamEndCapture(stream), "ending a graph")
    try:
        return int(check(cuda.cudaGraphInstantiate(graph, 0), "making a graph executable"))
    finally:
        check(cuda.cudaGraphDestroy(graph), "destroying a graph")


def launch_graph(graph: int, stream: int) -> None:
    """Launch a graph of :func:`capture`."""
    check(load_runtime().cudaGraphLaunch(graph, stream), "launching a graph")


def destroy_graph(graph: int) -> None:
    """Destroy a graph of :func:`capture`."""
    check(load_runtime().cudaGraphExecDestroy(graph), "destroying a graph")
