"""Greedy answers of any :class:`predictor.runners.base.Runner`, and what one says about the answers of another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictor.batch import Batch, StepOutput
from predictor.builder.int8.prompts import Prompt
from predictor.runners.base import Runner, execute

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GreedyOutput:
    """What followed a prompt."""

    token_ids: Tokens
    """With the stop token, if it came to one."""
    logprobs: tuple[float, ...]
    """Of each token, given all before it."""


def generate_greedily(
    runner: Runner, prompts: Sequence[Prompt], stops: Collection[int], *, most_tokens: int | None = None
) -> list[GreedyOutput]:
    """Answer every prompt with the most likely tokens, as many prompts at a time as the runner has slots.

    Args:
        runner: with nothing in flight.
        prompts: to answer.
        stops: tokens that end an answer.
        most_tokens: of an answer, where that is less than the prompt allows.

    Raises:
        RunnerError: a step failed.
    """
    budgets = [min(prompt.max_new_tokens, most_tokens or prompt.max_new_tokens) for prompt in prompts]

    def choose(index: int, answer: list[int]) -> bool:
        return len(answer) < budgets[index] and answer[-1] not in stops

    answers: list[GreedyOutput] = []
    for rows in _groups(len(prompts), runner.slots):
        taken: dict[int, list[int]] = {index: [] for index in rows}
        logprobs: dict[int, list[float]] = {index: [] for index in rows}
        output = execute(runner, _reading(prompts, rows))
        running = list(rows)
        while running:
            for row, index in enumerate(running):
                taken[index].append(int(output.candidate_ids[row, 0]))
                logprobs[index].append(float(output.candidate_logprobs[row, 0]))
            running = [index for index in running if choose(index, taken[index])]
            if running:
                output = execute(runner, _decoding(prompts, rows.start, running, taken))
        answers += [GreedyOutput(tuple(taken[index]), tuple(logprobs[index])) for index in rows]
    return answers


def score_outputs(runner: Runner, prompts: Sequence[Prompt], answers: Sequence[Tokens]) -> list[list[float]]:
    """Log-probabilities that a runner gives the tokens of somebody's answers, each given all before it.

    A token that is not among the runner's candidates counts as its last candidate, which is more than it has.

    Args:
        runner: with nothing in flight.
        prompts: that were answered.
        answers: at least one token each.

    Raises:
        RunnerError: a step failed.
    """
    scores: list[list[float]] = [[] for _ in prompts]
    for rows in _groups(len(prompts), runner.slots):
        output = execute(runner, _reading(prompts, rows))
        running = list(rows)
        while running:
            for row, index in enumerate(running):
                scores[index].append(_logprob(output, row, answers[index][len(scores[index])]))
            running = [index for index in running if len(scores[index]) < len(answers[index])]
            if running:
                known = {index: answers[index][: len(scores[index])] for index in running}
                output = execute(runner, _decoding(prompts, rows.start, running, known))
    return scores


def _groups(count: int, slots: int) -> Iterator[range]:
    return (range(first, min(count, first + slots)) for first in range(0, count, slots))


def _reading(prompts: Sequence[Prompt], rows: range) -> Batch:
    return Batch.of_prompts(range(len(rows)), [prompts[index].token_ids for index in rows])


def _decoding(
    prompts: Sequence[Prompt],
    first: int,
    running: Sequence[int],
    known: dict[int, Tokens] | dict[int, list[int]],
) -> Batch:
    """One more token for each running answer; prompt ``first`` is in slot 0."""
    slots = np.array(running, np.int64) - first
    newest = np.array([known[index][-1] for index in running], np.int64)
    lengths = [len(prompts[index].token_ids) + len(known[index]) - 1 for index in running]
    return Batch.of_tokens(slots, newest, np.array(lengths, np.int64))


def _logprob(output: StepOutput, row: int, token: int) -> float:
    logprobs: npt.NDArray[np.float32] = output.candidate_logprobs[row]
    found = np.flatnonzero(output.candidate_ids[row] == token)
    return float(logprobs[found[0] if len(found) else -1])
