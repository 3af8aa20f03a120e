"""Chooses what executes the decoder, once, at the start, and says why."""

from __future__ import annotations

from pathlib import Path

from predictor.config import PredictorConfig
from predictor.runners.base import Runner
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.release import Release


def create_runner(config: PredictorConfig, directory: Path, release: Release) -> tuple[Runner, str, str]:
    """Load the release into a runner.

    Returns:
        The runner, the backend's name, and the reason for the choice (for the log and the metric).

    Raises:
        StartupError: the chosen backend cannot run this release here.
    """
    runner = OnnxRuntimeRunner(
        directory, release, slots=config.slots, threads=config.cpu_threads(), spin=config.spin
    )
    reason = "named by YIWEN_BACKEND" if config.backend != "auto" else "the release holds no TensorRT plan"
    return runner, "onnxruntime", reason
