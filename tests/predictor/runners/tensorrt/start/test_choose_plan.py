from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from predictor.errors import RunnerError, StartupError
from predictor.plan import PlanKey, TensorRTPlan
from predictor.runners.tensorrt.cuda_api import CudaError, DeviceProperties
from predictor.runners.tensorrt.start.choose_plan import (
    choose_plan,
    explain_cuda,
    explain_engine,
    read_named_plans,
)
from tests.predictor.test_plan import make_plan, store

DEVICE = DeviceProperties("NVIDIA H200", "0" * 32, (9, 0), 132, 150 * 10**9, "13.0")
RELEASE = "0123456789abcdef"


def plan(
    *,
    capability: tuple[int, int] = (9, 0),
    sm_count: int = 132,
    tensorrt: str = "8.6.0",
    precision: str = "float16",
    release: str = RELEASE,
) -> TensorRTPlan:
    return make_plan(key=PlanKey(capability, sm_count, tensorrt, precision), release_id=release)


def choose(*plans: TensorRTPlan, precision: str = "", directory: Path = Path("/models/zh")) -> TensorRTPlan:
    return choose_plan(
        plans,
        directory=directory,
        release_id=RELEASE,
        device=DEVICE,
        tensorrt="8.6.0",
        precision=precision,
    )


def test_the_plan_for_this_machine_is_taken() -> None:
    wanted = plan()
    assert choose(plan(capability=(8, 9)), plan(tensorrt="10.1.0"), wanted, plan(sm_count=16)) is wanted


def test_float16_goes_before_int8_unless_int8_is_named() -> None:
    half, codes = plan(), plan(precision="int8")
    assert choose(codes, half) is half
    assert choose(codes) is codes
    assert choose(codes, half, precision="int8") is codes


@pytest.mark.parametrize(
    ("plans", "precision", "texts"),
    [
        ((), "", ["the release holds no TensorRT plan", "this machine has NVIDIA H200 (sm90-132sm)"]),
        ((plan(capability=(8, 9)),), "", ["is for another kind of GPU (NVIDIA H200)"]),
        ((plan(sm_count=16),), "", ["is for 16 multiprocessors, not 132", "MIG slice"]),
        ((plan(tensorrt="10.1.0"),), "", ["trt10.1.0-float16 is for TensorRT 10.1.0", "TensorRT 8.6.0"]),
        ((plan(release="f" * 16),), "", ["is for release ffffffffffffffff, not 0123456789abcdef"]),
        ((plan(),), "int8", ["is of precision float16, not int8", "--precision int8"]),
        ((plan(sm_count=16, tensorrt="10.1.0"),), "", ["fewer than its GPU) and for TensorRT 10.1.0"]),
    ],
)
def test_what_is_there_and_what_differs_is_said_with_the_command_that_helps(
    plans: tuple[TensorRTPlan, ...], precision: str, texts: list[str]
) -> None:
    with pytest.raises(StartupError) as caught:
        choose(*plans, precision=precision)
    message = str(caught.value)
    for text in texts:
        assert text in message
    assert f"`yiwen release plan /models/zh --precision {precision or 'float16'}`" in message


def test_only_this_machines_plans_are_read_best_precision_first(tmp_path: Path) -> None:
    for one in (plan(precision="int8"), plan(), plan(sm_count=16)):
        store(tmp_path, one)
    found = read_named_plans(tmp_path, DEVICE, "8.6.0", "")
    assert [one.key.precision for one in found] == ["float16", "int8"]
    assert [one.key.precision for one in read_named_plans(tmp_path, DEVICE, "8.6.0", "int8")] == ["int8"]
    assert read_named_plans(tmp_path, DEVICE, "10.1.0", "") == []


def test_this_machines_plan_being_broken_is_an_error_and_anothers_is_not(tmp_path: Path) -> None:
    store(tmp_path, plan(sm_count=16)).write_text("{")
    assert read_named_plans(tmp_path, DEVICE, "8.6.0", "") == []
    store(tmp_path, plan()).write_text("{")
    with pytest.raises(StartupError, match="build it again"):
        read_named_plans(tmp_path, DEVICE, "8.6.0", "")


@pytest.mark.parametrize(
    ("name", "driver", "texts"),
    [
        (
            "cudaErrorNoDevice",
            "13.0",
            ["no GPU is visible", "nvidia.com/gpu: 1", "YIWEN_BACKEND=onnxruntime"],
        ),
        ("cudaErrorInsufficientDriver", "", ["no GPU is visible", "nvidia-smi"]),
        ("cudaErrorInsufficientDriver", "12.2", ["supports CUDA 12.2", 'pip install "cuda-python==12.*"']),
        ("cudaErrorMemoryAllocation", "13.0", ["ran out of memory while allocating", "YIWEN_SLOTS"]),
        ("cudaErrorECCUncorrectable", "13.0", ["cudaErrorECCUncorrectable", "nvidia-smi"]),
    ],
)
def test_cuda_errors_are_distinguished(name: str, driver: str, texts: list[str]) -> None:
    message = str(explain_cuda(CudaError(name, "text", "allocating 5 bytes"), driver))
    for text in texts:
        assert text in message


def test_an_engine_that_cannot_be_loaded_is_to_be_built_again() -> None:
    error = explain_engine(
        RunnerError("magic tag does not match"), plan(precision="int8"), Path("/models/zh")
    )
    assert "magic tag does not match" in str(error)
    assert "`yiwen release plan /models/zh --precision int8 --force`" in str(error)


def test_a_plan_of_another_gpu_is_named_by_what_it_was_built_on() -> None:
    with pytest.raises(StartupError, match="NVIDIA L4"):
        choose(dataclasses.replace(plan(capability=(8, 9)), gpu_name="NVIDIA L4"))
