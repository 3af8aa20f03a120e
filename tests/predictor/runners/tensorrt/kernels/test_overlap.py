"""Which launches overlap, by the order of what is started; the driver is one that writes down its calls."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from predictor.runners.tensorrt.kernels import launch, overlap
from predictor.runners.tensorrt.kernels.launch import PROGRAMS, SOURCES, KernelFunction
from predictor.runners.tensorrt.kernels.overlap import DEPENDENT_KERNELS, DependentLaunch, PrecedingLaunch

Calls = list[tuple[object, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls: Calls = []

    def launch_ex(config: SimpleNamespace, handle: object, arguments: int, extra: int) -> tuple[int]:
        grid = (config.gridDimX, config.gridDimY, config.gridDimZ)
        calls.append((handle, grid, config.blockDimX, config.hStream, arguments, config.numAttrs))
        return (0,)

    def launch_kernel(handle: object, *arguments: int) -> tuple[int]:
        calls.append((handle, "ordinary"))
        return (0,)

    driver = SimpleNamespace(
        CUlaunchConfig=lambda: SimpleNamespace(numAttrs=0),
        CUlaunchAttribute=lambda: SimpleNamespace(value=SimpleNamespace()),
        CUlaunchAttributeID=SimpleNamespace(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION=6),
        cuLaunchKernelEx=launch_ex,
        cuLaunchKernel=launch_kernel,
    )
    monkeypatch.setattr(overlap, "load_driver", lambda: driver)
    monkeypatch.setattr(launch, "load_driver", lambda: driver)
    return calls


def start(function: KernelFunction) -> None:
    function((2, 3, 4), 128, 5, 6)


def test_a_launch_overlaps_behind_a_kernel_that_lets_it(calls: Calls) -> None:
    preceding = PrecedingLaunch()
    first, second = (DependentLaunch(name, name, preceding) for name in ("first", "second"))
    start(first)
    start(second)
    assert calls == [("first", (2, 3, 4), 128, 5, 6, 0), ("second", (2, 3, 4), 128, 5, 6, 1)]


def test_behind_any_other_kernel_it_does_not(calls: Calls) -> None:
    preceding = PrecedingLaunch()
    following = launch.kernel_function("add_norm", "add_norm", preceding)
    other = launch.kernel_function("gather_rows", "gather_rows", preceding)
    for function in (following, other, following, following):
        start(function)
    assert [call[-1] for call in calls] == [0, "ordinary", 0, 1]


def test_without_overlaps_every_launch_is_ordinary(calls: Calls) -> None:
    for name in DEPENDENT_KERNELS:
        start(launch.kernel_function(name, name, None))
    start(DependentLaunch("linear", "linear", None))
    assert {call[-1] for call in calls} == {"ordinary", 0}


@pytest.mark.parametrize("name", sorted(DEPENDENT_KERNELS))
def test_kernels_that_may_overlap_wait_before_anything_else(name: str) -> None:
    (program,) = (program for program, kernels in PROGRAMS.items() if name in kernels)
    source = (SOURCES / program).read_text()
    body = source[source.index("{\n", source.index(f" {name}(")) + 2 :]
    statements = [line.strip() for line in body.splitlines() if "__shared__" not in line]
    assert statements[0] == "follow_kernel_before();"


def test_no_other_kernel_lets_the_next_one_start() -> None:
    others = {"rows.cu", "prefill_attention.cu"}
    assert all("follow_kernel_before" not in (SOURCES / name).read_text() for name in others)
    counts = [(SOURCES / name).read_text().count("follow_kernel_before();") for name in PROGRAMS]
    assert sum(counts) == len(DEPENDENT_KERNELS)
