"""Creates the TensorRT runner of a release: chooses a plan, loads its engines, and builds the backend.

A failed start raises :class:`predictor.errors.StartupError`, which says what to do, and frees the GPU's memory.
"""

from __future__ import annotations

import logging
import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictor.config import PredictorConfig
from predictor.errors import RunnerError, StartupError
from predictor.plan import TensorRTPlan, find_plans, plan_path
from predictor.runners.segmented import SegmentedRunner
from predictor.runners.tensorrt import cuda_api as cuda
from predictor.runners.tensorrt.kernels.overlap import OVERLAPS
from predictor.runners.tensorrt.start.backend_builder import BackendBuilder
from predictor.runners.tensorrt.start.choose_plan import (
    choose_plan,
    explain_cuda,
    explain_engine,
    read_named_plans,
)
from predictor.runners.tensorrt.start.memory import MemoryPlan
from predictor.runners.tensorrt.step.backend import TensorRtBackend
from predictor.tensorrt_api import Api, TensorRTEngine, TensorRTError, load_api
from protocol.integrity import CheckedFile, checked_beside
from protocol.release import Release

logger = logging.getLogger(__name__)


def create_tensorrt_runner(
    config: PredictorConfig, directory: Path, release: Release, *, overlaps: bool = OVERLAPS
) -> tuple[SegmentedRunner, TensorRTPlan]:
    """A runner that is ready to serve, and the plan it runs.

    Args:
        config: slots wanted, share of the GPU's memory, precision, cache of compiled kernels.
        directory: of the release.
        release: its ``release.json``.
        overlaps: whether launches of decode steps overlap, on a GPU that supports it.

    Raises:
        StartupError: see the module.
        ReleaseError: the plan file differs from its digest.
    """
    try:
        return _create(config, directory, release, overlaps)
    except cuda.CudaError as error:
        raise explain_cuda(error, cuda.driver_version()) from error
    except RunnerError as error:
        raise StartupError(f"the GPU failed during the start: {error}; the log may say more") from error


def _create(
    config: PredictorConfig, directory: Path, release: Release, overlaps: bool
) -> tuple[SegmentedRunner, TensorRTPlan]:
    seconds: dict[str, float] = {}
    with _timed(seconds, "libraries"):
        api = load_api()
        device = cuda.device_properties()
    plan = _find_plan(config, directory, release, api, device)
    path = plan_path(directory, plan.key)
    fix = f"copy the plan again, or build it again: yiwen release plan {directory} --force"
    files = [CheckedFile(path, plan.sha256, fix)] if config.verify_release else []
    with checked_beside(files, config.stamp_dirs):
        with _timed(seconds, "engines"):
            engines = _load_engines(api, plan, directory)
        builder = BackendBuilder(config, release, plan, path, engines, device, overlaps=overlaps)
        memory, backend = _build(builder, plan, seconds)
    facts = {"plan": plan.key.name, "gpu": device.name, "uuid": device.uuid, "slots": memory.slots}
    phases = {f"{phase}_seconds": round(took, 2) for phase, took in seconds.items()}
    logger.info("TensorRT started", extra={"fields": {**facts, **phases}})
    return SegmentedRunner(backend), plan


def _build(
    builder: BackendBuilder, plan: TensorRTPlan, seconds: dict[str, float]
) -> tuple[MemoryPlan, TensorRtBackend]:
    """Run the phases of a start, and record the seconds of each."""
    try:
        with _timed(seconds, "kernels"):
            builder.load_kernels()
        memory = builder.allocate()
        logger.info("GPU memory planned", extra={"fields": {"memory": memory.describe()}})
        with _timed(seconds, "weights"):
            builder.load_weights()
        backend = builder.build()
        with _timed(seconds, "graphs"):
            backend.prepare(plan.profiles[builder.layer_engine])
    except BaseException:
        builder.free_all()
        raise
    return memory, backend


def _find_plan(
    config: PredictorConfig, directory: Path, release: Release, api: Api, device: cuda.DeviceProperties
) -> TensorRTPlan:
    named = read_named_plans(directory, device, api.version, config.plan_precision)
    return choose_plan(
        named or find_plans(directory),
        directory=directory,
        release_id=release.id,
        device=device,
        tensorrt=api.version,
        precision=config.plan_precision,
    )


def _load_engines(api: Api, plan: TensorRTPlan, directory: Path) -> dict[str, TensorRTEngine]:
    engines: dict[str, TensorRTEngine] = {}
    path = plan_path(directory, plan.key)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for name, blob in plan.engines.items():
            try:
                engines[name] = api.deserialize(mapped[blob.offset : blob.offset + blob.nbytes])
            except TensorRTError as error:
                raise explain_engine(error, plan, directory) from error
    return engines


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = time.monotonic() - started
