"""Which backend is taken, on a machine that has no GPU or no TensorRT; ``tensorrt/test_gpu`` has the other half."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from predictor import tensorrt_api
from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.runners.select import create_runner
from protocol.release import load_release
from tests.predictor.builder.checkpoints import Variant, build, variant_checkpoint
from tests.predictor.test_plan import make_plan, store


@pytest.fixture(scope="module")
def release_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("select")
    build(
        variant_checkpoint(directory / "checkpoint", Variant("Llama"), layers=1),
        directory / "release",
        "float16",
    )
    return directory / "release"


@pytest.fixture
def with_plan(release_dir: Path, tmp_path: Path) -> Path:
    """The release with a plan for a GPU that is not here."""
    directory = tmp_path / "release"
    directory.mkdir()
    for path in release_dir.iterdir():
        (directory / path.name).symlink_to(path)
    store(directory, make_plan())
    return directory


@pytest.fixture(autouse=True)
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "_missing", "No module named 'tensorrt'")


def config(directory: Path, backend: Any) -> PredictorConfig:
    return dataclasses.replace(PredictorConfig(directory, slots=2, threads=1), backend=backend)


def test_a_release_without_plans_runs_on_onnx_runtime(release_dir: Path) -> None:
    chosen = create_runner(config(release_dir, "auto"), release_dir, load_release(release_dir))
    assert (chosen.backend, chosen.plan, chosen.precision) == ("onnxruntime", "", "float16")
    assert chosen.reason == "the release holds no TensorRT plan"
    chosen.runner.close()


def test_where_tensorrt_cannot_run_its_plan_the_reason_is_kept_and_logged(
    with_plan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        chosen = create_runner(config(with_plan, "auto"), with_plan, load_release(with_plan))
    assert chosen.backend == "onnxruntime"
    assert chosen.reason.startswith("TensorRT cannot run it: TensorRT is not installed")
    assert "pip install '.[tensorrt]' in a checkout of Yiwen" in caplog.text
    chosen.runner.close()


def test_a_backend_that_is_named_is_taken(with_plan: Path) -> None:
    chosen = create_runner(config(with_plan, "onnxruntime"), with_plan, load_release(with_plan))
    assert (chosen.backend, chosen.reason) == ("onnxruntime", "named by YIWEN_BACKEND")
    chosen.runner.close()


def test_tensorrt_that_is_named_and_cannot_run_ends_the_start(with_plan: Path) -> None:
    with pytest.raises(StartupError, match=r"TensorRT is not installed.*pip install '\.\[tensorrt\]'"):
        create_runner(config(with_plan, "tensorrt"), with_plan, load_release(with_plan))
