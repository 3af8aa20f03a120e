"""Chooses the plan to run on this machine, and explains failed starts.

Messages of failed starts are here, except those of the plan reader (:mod:`predictor.plan`), of the interfaces to
TensorRT and CUDA, and of the memory planner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from predictor.errors import PredictorError, StartupError
from predictor.plan import PlanKey, TensorRTPlan, plan_json_path, read_plan
from predictor.runners.tensorrt.cuda_api import CudaError, DeviceProperties

PRECISIONS = ("float16", "fp8", "int8")
"""In order of preference where no precision is named."""

ONNX_RUNTIME_INSTEAD = "or serve from the processor with YIWEN_BACKEND=onnxruntime"


def machine_key(device: DeviceProperties, tensorrt: str, precision: str) -> PlanKey:
    """The key of the plans that run here.

    Args:
        device: the GPU.
        tensorrt: release of TensorRT.
        precision: "" for the first of :data:`PRECISIONS`.
    """
    return PlanKey(device.compute_capability, device.sm_count, tensorrt, precision or PRECISIONS[0])


def read_named_plans(
    directory: Path, device: DeviceProperties, tensorrt: str, precision: str
) -> list[TensorRTPlan]:
    """The plans named for this machine, in order of precision.

    Only their faults are raised: a broken plan for another GPU does not matter here.

    Args:
        directory: of the release.
        device: the GPU.
        tensorrt: release of TensorRT.
        precision: the one wanted, or "" for any.

    Raises:
        StartupError: such a plan is cut short, renamed, or of a format that this version does not read.
    """
    key = machine_key(device, tensorrt, precision)
    keys = [key] if precision else [replace(key, precision=name) for name in PRECISIONS]
    return [read_plan(path) for path in (plan_json_path(directory, key) for key in keys) if path.exists()]


def choose_plan(
    plans: Sequence[TensorRTPlan],
    *,
    directory: Path,
    release_id: str,
    device: DeviceProperties,
    tensorrt: str,
    precision: str,
) -> TensorRTPlan:
    """The plan to run.

    Args:
        plans: those of the release.
        directory: of the release, for the message.
        release_id: whose weights are wanted.
        device: the GPU.
        tensorrt: release of TensorRT.
        precision: the one wanted, or "" for the best of :data:`PRECISIONS` that is there.

    Raises:
        StartupError: none fits; the message says what is there, what differs, and the command that builds one.
    """
    key = machine_key(device, tensorrt, precision)
    wanted = (precision,) if precision else PRECISIONS
    faults = []
    for plan in sorted(plans, key=lambda plan: _rank(plan.key.precision, wanted)):
        differences = _differences(plan, key, wanted, release_id)
        if not differences:
            return plan
        faults.append(f"{plan.key.name} is {' and '.join(differences)}")
    here = f"this machine has {device.name} ({key.gpu}) and TensorRT {tensorrt}"
    there = "; ".join(faults) or "the release holds no TensorRT plan"
    raise StartupError(
        f"no plan in {directory} can run: {there}; {here}: build one on this GPU with "
        f"`yiwen release plan {directory} --precision {key.precision}`"
    )


def _rank(precision: str, wanted: Sequence[str]) -> tuple[int, str]:
    return (wanted.index(precision) if precision in wanted else len(wanted), precision)


def _differences(plan: TensorRTPlan, key: PlanKey, precisions: Sequence[str], release_id: str) -> list[str]:
    """Why a plan cannot run on the machine of ``key``; each entry continues "it is"."""
    differences = []
    if plan.key.compute_capability != key.compute_capability:
        differences.append(f"for another kind of GPU ({plan.gpu_name})")
    elif plan.key.sm_count != key.sm_count:
        differences.append(
            f"for {plan.key.sm_count} multiprocessors, not {key.sm_count} (a MIG slice has fewer than its GPU)"
        )
    if plan.key.tensorrt != key.tensorrt:
        differences.append(f"for TensorRT {plan.key.tensorrt}")
    if plan.key.precision not in precisions:
        differences.append(f"of precision {plan.key.precision}, not {' or '.join(precisions)}")
    if plan.release_id != release_id:
        differences.append(f"for release {plan.release_id}, not {release_id}")
    return differences


def explain_cuda(error: CudaError, driver: str) -> StartupError:
    """The error for a CUDA call that failed during the start; says what to do.

    Args:
        error: the failure.
        driver: newest CUDA that the driver supports, e.g. ``12.4``; "" where there is no driver.
    """
    if error.name == "cudaErrorInsufficientDriver" and driver:
        return StartupError(
            f"the NVIDIA driver supports CUDA {driver}, the installed CUDA libraries are newer: update the driver, "
            f'or install libraries for it: pip install "cuda-python=={driver.split(".")[0]}.*"'
        )
    if error.name in ("cudaErrorNoDevice", "cudaErrorInsufficientDriver"):
        return StartupError(
            f"no GPU is visible ({error.name}): check `nvidia-smi` and CUDA_VISIBLE_DEVICES, give the pod the "
            f"resource nvidia.com/gpu: 1, {ONNX_RUNTIME_INSTEAD}"
        )
    if error.name == "cudaErrorMemoryAllocation":
        return StartupError(
            f"the GPU ran out of memory while {error.action}: lower YIWEN_GPU_MEMORY_FRACTION or YIWEN_SLOTS, or "
            "stop what else uses this GPU (`nvidia-smi` lists it)"
        )
    return StartupError(f"{error}: check the GPU with `nvidia-smi`, {ONNX_RUNTIME_INSTEAD}")


def explain_engine(error: PredictorError, plan: TensorRTPlan, directory: Path) -> StartupError:
    """The error for an engine that TensorRT refuses to load; says what to do.

    Args:
        error: of TensorRT.
        plan: of the engine.
        directory: of the release.
    """
    return StartupError(
        f"plan {plan.key.name} cannot be loaded: {error}; build it again on this GPU: "
        f"`yiwen release plan {directory} --precision {plan.key.precision} --force`"
    )
