"""Sequences that come, run and go, as steps that any runner can execute; and how close two runners are on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from predictor.batch import Batch, StepOutput
from predictor.runners.base import Runner, execute

TIE_MARGIN = 0.02
"""Two best candidates closer than this, in log-probability, may come in either order."""

LAST_MARGIN = 0.06
"""A candidate this close to the last one may be left out. Rounding to float16 moves the log-probabilities of these
random models by 0.005 on average, and single ones by up to 0.1."""


def script(
    seed: int, *, slots: int, steps: int, prompts: Sequence[tuple[int, ...]], stay: float = 0.85
) -> list[Batch]:
    """Steps over random sequences; each row's token is named by its source, the row of the step before.

    Args:
        seed: of all choices.
        slots: of the runner.
        steps: to make.
        prompts: given to free slots in turn.
        stay: chance of a running sequence to run on, per step.
    """
    rng = np.random.default_rng(seed)
    waiting = list(reversed(prompts))
    running: list[tuple[int, int, int]] = []  # slot, tokens held, row in the step before
    batches: list[Batch] = []
    for _ in range(steps):
        running = [sequence for sequence in running if rng.random() < stay]
        free = list(set(range(slots)) - {slot for slot, *_ in running})
        count = min(len(free), len(waiting), int(rng.integers(0, 4) if running else 2))
        taken = [int(slot) for slot in rng.permutation(free)[:count]]
        read = [waiting.pop() for _ in taken]
        table = np.array(running, np.int64).reshape(-1, 3)
        batch = Batch.of_tokens(table[:, 0], np.full(len(table), -1), table[:, 1])
        batches.append(
            dataclasses.replace(
                batch, prefill_slots=tuple(taken), prompts=tuple(read), decode_sources=table[:, 2]
            )
        )
        lengths = [(slot, len(prompt)) for slot, prompt in zip(taken, read, strict=True)]
        lengths += [(slot, held + 1) for slot, held, _ in running]
        running = [(slot, held, row) for row, (slot, held) in enumerate(lengths)]
    return [batch for batch in batches if batch]


def resolve(batch: Batch, previous: StepOutput | None) -> Batch:
    """The step with its tokens instead of their sources, given the output of the step before."""
    if previous is None or not len(batch.decode_slots):
        return batch
    tokens = previous.candidate_ids[batch.decode_sources, 0]
    return dataclasses.replace(batch, decode_tokens=tokens, decode_sources=np.full(len(tokens), -1))


def run_behind(runner: Runner, batches: Sequence[Batch]) -> list[StepOutput]:
    """Greedy, each step after the one before is collected."""
    outputs: list[StepOutput] = []
    for batch in batches:
        outputs.append(execute(runner, resolve(batch, outputs[-1] if outputs else None)))
    return outputs


def run_ahead(runner: Runner, batches: Sequence[Batch]) -> list[StepOutput]:
    """Greedy, each step launched before the one before is collected."""
    outputs = []
    for number, batch in enumerate(batches):
        runner.launch(batch)
        if number:
            outputs.append(runner.collect())
    return [*outputs, runner.collect()]


def run_forced(runner: Runner, batches: Sequence[Batch], wanted: Sequence[StepOutput]) -> list[StepOutput]:
    """The tokens that another runner chose, so that one choice between equals does not decide the rest."""
    before = [None, *wanted[:-1]]
    return [execute(runner, resolve(batch, output)) for batch, output in zip(batches, before, strict=True)]


def assert_close(found: Sequence[StepOutput], wanted: Sequence[StepOutput]) -> None:
    """The candidates are the same, but for some as good within a margin; log-probabilities differ little."""
    differences: list[float] = []
    for one, other in zip(found, wanted, strict=True):
        assert one.candidate_ids.shape == other.candidate_ids.shape
        for ids, logprobs, wanted_ids, wanted_logprobs in zip(
            one.candidate_ids,
            one.candidate_logprobs,
            other.candidate_ids,
            other.candidate_logprobs,
            strict=True,
        ):
            assert ids[0] == wanted_ids[0] or wanted_logprobs[0] - wanted_logprobs[1] < TIE_MARGIN
            left_out = ~np.isin(wanted_ids, ids)
            assert (wanted_logprobs[left_out] - wanted_logprobs[-1] < LAST_MARGIN).all()
            _, here, there = np.intersect1d(ids, wanted_ids, return_indices=True)
            differences.extend(np.abs(logprobs[here] - wanted_logprobs[there]))
    assert np.mean(differences) < 0.01
