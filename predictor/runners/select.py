"""Creates the runner that the settings and the release call for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.plan import family_fault
from predictor.runners.base import Runner
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.integrity import checked_beside, release_files
from protocol.release import DECODER_FILE, PLANS_DIR, WEIGHTS_FILE, Release

logger = logging.getLogger(__name__)


class ChosenRunner(NamedTuple):
    """A runner and its description for the log and the metric."""

    runner: Runner
    backend: str
    reason: str
    precision: str
    """Of the matrix products."""
    plan: str = ""
    """Name of the TensorRT plan."""


def create_runner(config: PredictorConfig, directory: Path, release: Release) -> ChosenRunner:
    """Load the release into a runner.

    Args:
        config: names a backend, or ``auto``.
        directory: of the release.
        release: its ``release.json``.

    Raises:
        StartupError: the backend that was named cannot run this release here, or none can.
        ReleaseError: a file that is loaded differs from its digest.
    """
    if config.backend == "tensorrt":
        return _tensorrt(config, directory, release, "named by YIWEN_BACKEND")
    if config.backend == "onnxruntime":
        return _onnxruntime(config, directory, release, "named by YIWEN_BACKEND")
    if not any((directory / PLANS_DIR).glob("*.plan.json")):
        return _onnxruntime(config, directory, release, "the release holds no TensorRT plan")
    try:
        return _tensorrt(config, directory, release, "the release holds a TensorRT plan for this GPU")
    except StartupError as error:
        logger.warning("TensorRT cannot run the release here: %s", error)
        return _onnxruntime(config, directory, release, f"TensorRT cannot run it: {error}")


def _tensorrt(config: PredictorConfig, directory: Path, release: Release, reason: str) -> ChosenRunner:
    if (fault := family_fault(release.family)) is not None:
        raise StartupError(fault)
    # Imported here: TensorRT takes seconds to import, and most machines do not have it.
    from predictor.runners.tensorrt.start.create import create_tensorrt_runner

    runner, plan = create_tensorrt_runner(config, directory, release)
    return ChosenRunner(runner, "tensorrt", reason, plan.key.precision, plan.key.name)


def _onnxruntime(config: PredictorConfig, directory: Path, release: Release, reason: str) -> ChosenRunner:
    files = release_files(directory, release, DECODER_FILE, WEIGHTS_FILE) if config.verify_release else []
    with checked_beside(files, config.stamp_dirs):
        runner = OnnxRuntimeRunner(
            directory,
            release,
            slots=config.slots,
            threads=config.cpu_threads(),
            spin=config.spin,
            providers=config.ort_providers,
        )
    return ChosenRunner(runner, "onnxruntime", reason, release.precision)
