"""What a runner would choose at each position of given answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from predictor.batch import Batch
from predictor.builder.verify.agreement import Continuation
from predictor.runners.base import Runner, execute

Prompts = Sequence[npt.NDArray[np.int64]]
Answers = Sequence[npt.NDArray[np.int64]]


def follow_answers(runner: Runner, prompts: Prompts, answers: Answers) -> list[Continuation]:
    """The runner's candidates at each position of answers, with all its slots in use.

    Args:
        runner: with nothing in flight.
        prompts: int64 [S] each, S >= 1.
        answers: of each prompt, int64 [T], T >= 1.

    Raises:
        RunnerError: a step failed.
    """
    found: list[Continuation] = []
    for first in range(0, len(prompts), runner.slots):
        rows = slice(first, first + runner.slots)
        found += _follow(runner, prompts[rows], answers[rows])
    return found


def _follow(runner: Runner, prompts: Prompts, answers: Answers) -> list[Continuation]:
    """As :func:`follow_answers`, for as many prompts as the runner has slots."""
    ids: list[list[npt.NDArray[np.int32]]] = [[] for _ in prompts]
    logprobs: list[list[npt.NDArray[np.float32]]] = [[] for _ in prompts]
    running = list(range(len(prompts)))
    output = execute(runner, Batch.of_prompts(running, [tuple(prompt.tolist()) for prompt in prompts]))
    step = 0
    while True:
        for row, index in enumerate(running):
            ids[index].append(output.candidate_ids[row].copy())
            logprobs[index].append(output.candidate_logprobs[row].copy())
        step += 1
        running = [index for index in running if step < len(answers[index])]
        if not running:
            break
        newest = np.array([answers[index][step - 1] for index in running])
        lengths = np.array([len(prompts[index]) + step - 1 for index in running])
        output = execute(runner, Batch.of_tokens(np.array(running), newest, lengths))
    return [
        Continuation(answer, np.stack(each_ids), np.stack(each_logprobs))
        for answer, each_ids, each_logprobs in zip(answers, ids, logprobs, strict=True)
    ]
