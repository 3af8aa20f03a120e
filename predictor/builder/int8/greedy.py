"""Greedy generation with any :class:`predictor.runners.base.Runner`, and scoring of given answers."""

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
    """The greedy answer to one prompt."""

    token_ids: Tokens
    """Including the stop token, if there is one."""
    logprobs: tuple[float, ...]
    """Log-probability of each token, given all tokens before it."""


def generate_greedily(
    runner: Runner, prompts: Sequence[Prompt], stops: Collection[int], *, max_tokens: int | None = None
) -> list[GreedyOutput]:
    """Generate the most likely tokens for every prompt, with all slots of the runner in use.

    Args:
        runner: with nothing in flight.
        prompts: to answer.
        stops: tokens that end an answer.
        max_tokens: limit per answer, beside the prompt's own.

    Raises:
        RunnerError: a step failed.
    """
    budgets = [min(prompt.max_new_tokens, max_tokens or prompt.max_new_tokens) for prompt in prompts]

    def goes_on(index: int, answer: list[int]) -> bool:
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
            running = [index for index in running if goes_on(index, taken[index])]
            if running:
                output = execute(runner, _decoding(prompts, rows.start, running, taken))
        answers += [GreedyOutput(tuple(taken[index]), tuple(logprobs[index])) for index in rows]
    return answers


def score_outputs(runner: Runner, prompts: Sequence[Prompt], answers: Sequence[Tokens]) -> list[list[float]]:
    """Log-probabilities of the tokens of given answers, each given all tokens before it.

    A token that is not among the runner's candidates gets the log-probability of the last candidate, an upper bound.

    Args:
        runner: with nothing in flight.
        prompts: of the answers.
        answers: token ids, at least one each.

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
    """The decode step of the running answers; prompt ``first`` is in slot 0."""
    slots = np.array(running, np.int64) - first
    newest = np.array([known[index][-1] for index in running], np.int64)
    lengths = [len(prompts[index].token_ids) + len(known[index]) - 1 for index in running]
    return Batch.of_tokens(slots, newest, np.array(lengths, np.int64))


def _logprob(output: StepOutput, row: int, token: int) -> float:
    logprobs: npt.NDArray[np.float32] = output.candidate_logprobs[row]
    found = np.flatnonzero(output.candidate_ids[row] == token)
    return float(logprobs[found[0] if len(found) else -1])
