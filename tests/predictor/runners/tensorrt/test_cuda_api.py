from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import SimpleNamespace

import pytest

from predictor.errors import StartupError
from predictor.runners.tensorrt import cuda_api as cuda


class cudaError_t(IntEnum):  # noqa: N801  cuda-python's name, by which the call for the text is chosen
    cudaSuccess = 0  # noqa: N815  CUDA's spelling
    cudaErrorMemoryAllocation = 2  # noqa: N815


class FakeRuntime(SimpleNamespace):
    """The runtime's calls that captures make, written down."""

    def __init__(self) -> None:
        modes = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
        super().__init__(calls=[], cudaStreamCaptureMode=modes)

    def __getattr__(self, name: str) -> Callable[..., tuple[object, ...]]:
        def call(*arguments: object) -> tuple[object, ...]:
            self.calls.append((name, *arguments))
            values = {"cudaStreamEndCapture": (11,), "cudaGraphInstantiate": (22,)}
            return (cudaError_t.cudaSuccess, *values.get(name, ()))

        return call

    def cudaGetErrorString(self, status: object) -> tuple[object, bytes]:  # noqa: N802
        return (cudaError_t.cudaSuccess, b"out of memory")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    monkeypatch.setattr(cuda, "load_runtime", lambda: fake)
    return fake


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cuda.load_module.cache_clear()
    for name in ("cuda", *(f"cuda.bindings{part}" for part in ("", ".driver", ".nvrtc", ".runtime"))):
        monkeypatch.setitem(sys.modules, name, None)
    yield
    cuda.load_module.cache_clear()


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("load", [cuda.load_driver, cuda.load_runtime, cuda.load_nvrtc])
def test_cuda_python_that_is_not_installed_is_a_start_that_says_how(load: Callable[[], object]) -> None:
    with pytest.raises(StartupError, match=r"pip install '\.\[tensorrt\]'"):
        load()


def test_values_come_without_their_status() -> None:
    success = cudaError_t.cudaSuccess
    assert cuda.check((success,), "x") is None
    assert cuda.check((success, 5), "x") == 5
    assert cuda.check((success, 5, 6), "x") == (5, 6)


def test_a_failure_says_what_was_being_done(runtime: FakeRuntime) -> None:
    with pytest.raises(cuda.CudaError) as caught:
        cuda.check((cudaError_t.cudaErrorMemoryAllocation, None), "allocating 5 bytes")
    assert str(caught.value) == (
        "CUDA failed while allocating 5 bytes: cudaErrorMemoryAllocation: out of memory"
    )
    assert caught.value.name == "cudaErrorMemoryAllocation"


def test_a_capture_gives_an_executable_graph_and_drops_the_recording(runtime: FakeRuntime) -> None:
    graph = cuda.capture(7, lambda: runtime.calls.append(("work",)))
    assert graph == 22
    assert runtime.calls == [
        ("cudaStreamBeginCapture", 7, 1),
        ("work",),
        ("cudaStreamEndCapture", 7),
        ("cudaGraphInstantiate", 11, 0),
        ("cudaGraphDestroy", 11),
    ]


def test_work_that_fails_ends_the_capture(runtime: FakeRuntime) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cuda.capture(7, fail)
    assert [name for name, *_ in runtime.calls] == ["cudaStreamBeginCapture", "cudaStreamEndCapture"]


def test_without_a_driver_cudas_own_words_are_passed_on() -> None:
    """With the real bindings, where they are installed and there is no GPU: names and arguments fit them."""
    pytest.importorskip("cuda.bindings.runtime")
    if cuda.driver_version():
        pytest.skip("there is a driver")
    calls: list[Callable[[], object]] = [
        cuda.device_properties,
        cuda.set_device,
        cuda.synchronize,
        cuda.mem_info,
        lambda: cuda.malloc(10, "a test"),
        lambda: cuda.free(0),
        lambda: cuda.PinnedMemory(10),
        lambda: cuda.copy_to_device(1, 2, 3, 0),
        lambda: cuda.copy_to_host(1, 2, 3, 0),
        lambda: cuda.copy_on_device(1, 2, 3, 0),
        lambda: cuda.fill(1, 0, 3, 0),
        cuda.create_stream,
        lambda: cuda.synchronize_stream(0),
        lambda: cuda.destroy_stream(1),
        lambda: cuda.create_event(timing=True, blocking=True),
        lambda: cuda.record_event(1, 0),
        lambda: cuda.synchronize_event(1),
        lambda: cuda.elapsed_seconds(1, 2),
        lambda: cuda.destroy_event(1),
        lambda: cuda.capture(0, lambda: None),
        lambda: cuda.launch_graph(1, 0),
        lambda: cuda.destroy_graph(1),
    ]
    for call in calls:
        with pytest.raises(cuda.CudaError, match="cudaErrorInsufficientDriver"):
            call()
