"""Compares decode steps with and without overlapping launches: step time, and equality of results.

Past, tokens and steps are the same in both runs, and each step takes its tokens from the one before, so that a value
read too early affects all later steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_stages import decode, setting
from predictor.batch import Batch, StepOutput
from predictor.config import PredictorConfig
from predictor.plan import find_plans
from predictor.runners.base import Runner
from predictor.runners.tensorrt.start.create import create_tensorrt_runner
from protocol.release import load_release

SLOTS = (1, 3, 8, 16, 32, 64, 128)
COMPARED_STEPS = 40


def measure(release: Path) -> dict[str, Any]:
    """By precision and number of slots: seconds per step of both, and whether the results are equal."""
    figures: dict[str, Any] = {}
    for precision in sorted({plan.key.precision for plan in find_plans(release)}):
        config = setting.config(release, precision, slots=max(SLOTS))
        ordinary, overlapping = (_run(config, overlaps=overlaps) for overlaps in (False, True))
        figures[precision] = {
            slots: {
                "ordinary_seconds": seconds,
                "overlapping_seconds": overlapping[slots][0],
                "equal": _equal(outputs, overlapping[slots][1]),
            }
            for slots, (seconds, outputs) in ordinary.items()
        }
    if not figures:
        raise SystemExit(f"{release} has no plan: run `yiwen release plan` first")
    return figures


def _run(config: PredictorConfig, *, overlaps: bool) -> dict[str, tuple[float, list[StepOutput]]]:
    release = load_release(config.release)
    runner, plan = create_tensorrt_runner(config, config.release, release, overlaps=overlaps)
    try:
        decode.fill(runner, plan)
        return {
            str(slots): (decode.step_seconds(runner, slots), _answers(runner, slots))
            for slots in SLOTS
            if slots <= runner.slots
        }
    finally:
        runner.close()


def _answers(runner: Runner, slots: int) -> list[StepOutput]:
    """Results of steps with two in flight, each with the same past and the tokens of the step before."""
    rows = np.arange(slots)
    first = Batch.of_tokens(rows, rows + 7, np.full(slots, decode.PAST))
    following = Batch((), (), rows, first.decode_tokens, first.decode_lengths, rows)
    runner.launch(first)
    outputs = []
    for _ in range(COMPARED_STEPS):
        runner.launch(following)
        outputs.append(runner.collect())
    return [*outputs, runner.collect()]


def _equal(ordinary: list[StepOutput], overlapping: list[StepOutput]) -> bool:
    """Whether all ids and log-probabilities are equal bit by bit."""
    return all(
        np.array_equal(one.candidate_ids, other.candidate_ids)
        and np.array_equal(_bits(one.candidate_logprobs), _bits(other.candidate_logprobs))
        for one, other in zip(ordinary, overlapping, strict=True)
    )


def _bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(values).view(np.uint32)
