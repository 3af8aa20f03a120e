"""A release, its plan and its steps on the GPU at hand, against the reference on the CPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.plan import find_plans, plan_path
from predictor.runners.reference import open_reference_runner
from predictor.runners.segmented import SegmentedRunner
from predictor.runners.select import create_runner
from predictor.runners.tensorrt import cuda_api
from protocol.release import load_release
from tests.predictor.builder.checkpoints import Variant, build, variant_checkpoint
from tests.predictor.runners.steps import assert_close, run_ahead, run_behind, run_forced, script

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(900)]

SLOTS = 12
MAX_TOKENS = 64
"""Of a pass; prompts are longer, so steps of several passes occur."""


VARIANTS = (
    Variant("Llama"),
    Variant("Llama", kv_heads=3, tied=False),
    Variant("Qwen2"),
    Variant("Qwen3", biased=True),
)


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def release_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with a plan for this GPU, as `yiwen release plan` makes it."""
    pytest.importorskip("tensorrt")
    from predictor.builder.plan_commands import PlanOptions, run_plan

    directory = tmp_path_factory.mktemp("gpu")
    build(
        variant_checkpoint(directory / "checkpoint", request.param, layers=3),
        directory / "release",
        "float16",
    )
    options = PlanOptions(release=directory / "release", level=0, max_tokens=MAX_TOKENS, max_rows=8)
    assert run_plan(options) == 0
    return directory / "release"


def config(directory: Path, **changes: Any) -> PredictorConfig:
    base = PredictorConfig(directory, backend="tensorrt", slots=SLOTS, cache_dir=directory / "kernels")
    return dataclasses.replace(base, **changes)


def opened(directory: Path, **changes: object) -> SegmentedRunner:
    runner = create_runner(config(directory, **changes), directory, load_release(directory)).runner
    assert isinstance(runner, SegmentedRunner)
    return runner


def prompts(seed: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 256, rng.integers(1, 100)).tolist()) for _ in range(40)]


def test_steps_give_what_the_reference_gives(release_dir: Path) -> None:
    batches = script(1, slots=SLOTS, steps=40, prompts=prompts(1))
    reference = open_reference_runner(release_dir, load_release(release_dir), slots=SLOTS, threads=2)
    wanted = run_behind(reference, batches)
    runner = opened(release_dir)
    assert_close(run_forced(runner, batches, wanted), wanted)
    assert runner.launches["graph"] > 0
    assert runner.launches["eager"] > 0
    runner.close()


def test_running_ahead_changes_nothing(release_dir: Path) -> None:
    batches = script(2, slots=SLOTS, steps=60, prompts=prompts(2), stay=0.8)
    runner = opened(release_dir)
    behind = run_behind(runner, batches)
    ahead = run_ahead(runner, batches)
    for one, other in zip(ahead, behind, strict=True):
        np.testing.assert_array_equal(one.candidate_ids, other.candidate_ids)
        np.testing.assert_array_equal(one.candidate_logprobs, other.candidate_logprobs)
    runner.close()


def test_closing_gives_the_memory_back(release_dir: Path) -> None:
    opened(release_dir).close()  # what CUDA and TensorRT keep for good is taken now
    free, _ = cuda_api.mem_info()
    runner = opened(release_dir)
    assert cuda_api.mem_info()[0] < free
    runner.close()
    assert abs(cuda_api.mem_info()[0] - free) < 64 * 2**20


def test_a_gpu_without_room_is_refused_and_left_as_it_was(release_dir: Path) -> None:
    free, _ = cuda_api.mem_info()
    with pytest.raises(StartupError, match="YIWEN_GPU_MEMORY_FRACTION"):
        opened(release_dir, gpu_memory_fraction=1e-6)
    assert abs(cuda_api.mem_info()[0] - free) < 256 * 2**20


def test_an_engine_that_is_damaged_is_to_be_built_again(release_dir: Path) -> None:
    (plan,) = find_plans(release_dir)
    path = plan_path(release_dir, plan.key)
    whole = path.read_bytes()
    blob = plan.engines["qkv.float16"]
    path.write_bytes(whole[: blob.offset] + bytes(blob.nbytes) + whole[blob.offset + blob.nbytes :])
    try:
        with pytest.raises(StartupError, match=r"cannot be loaded.*--force"):
            opened(release_dir)
    finally:
        path.write_bytes(whole)
