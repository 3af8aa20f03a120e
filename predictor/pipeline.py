"""The steps in flight: launched on the runner, read oldest first, timed.

The engine decides when a step is launched and when one is read; this keeps them in order, turns a runner's output
into tokens, and makes one kind of error of everything that can go wrong on the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from predictor.batch import StepOutput
from predictor.errors import RunnerError
from predictor.metrics import EngineMetrics
from predictor.runners.base import Runner
from predictor.sampler import sample
from predictor.scheduler import Step
from predictor.sequence import Sequence, Subscriber


class StepFailed(Exception):
    """A step in flight failed, and took the others with it; the cause is what the runner said."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadStep:
    """A step and what it generated, in the order of its sequences."""

    step: Step
    token_ids: list[int]
    logprobs: list[float]

    def followed(self) -> list[tuple[Subscriber, Sequence, int, float]]:
        """Who follows a sequence that still runs, the sequence, its token and the token's log-probability."""
        return [
            (sequence.request.subscriber, sequence, token_id, logprob)
            for sequence, token_id, logprob in zip(
                self.step.sequences, self.token_ids, self.logprobs, strict=True
            )
            if sequence.request.subscriber is not None and sequence.is_running
        ]


class StepPipeline:
    """Launched steps that nobody has read yet. Used by one thread."""

    def __init__(self, runner: Runner, metrics: EngineMetrics, clock: Callable[[], float]) -> None:
        self._runner = runner
        self._metrics = metrics
        self._clock = clock
        self._in_flight: deque[Step] = deque()
        self._busy_since = 0.0
        """Monotonic seconds when the oldest step in flight had the runner to itself."""

    def __len__(self) -> int:
        return len(self._in_flight)

    def launch(self, step: Step) -> None:
        """Start ``step``.

        Raises:
            StepFailed: nothing is in flight any more.
        """
        if not self._in_flight:
            self._busy_since = self._clock()
        self._in_flight.append(step)
        try:
            self._runner.launch(step.batch)
        except Exception as error:  # whatever a runner raises costs what is in flight, never the server
            self._lose_all()
            raise StepFailed from error

    def read(self) -> ReadStep:
        """Wait for the oldest step and choose its tokens.

        Raises:
            StepFailed: nothing is in flight any more.
        """
        try:
            output = self._runner.collect()
        except Exception as error:  # as in launch
            self._lose_all()
            raise StepFailed from error
        step = self._in_flight.popleft()
        self._metrics.runner_seconds.observe(self._count_busy())
        try:
            return _choose_tokens(step, output)
        except Exception as error:  # an output that is none
            self._abandon_all()
            raise StepFailed from error

    def _abandon_all(self) -> None:
        """Wait for what a runner that has not failed still works on, whatever comes of it."""
        with suppress(Exception):
            for _ in self._in_flight:
                self._runner.collect()
        self._lose_all()

    def _lose_all(self) -> None:
        self._in_flight.clear()
        self._count_busy()

    def _count_busy(self) -> float:
        """Seconds since the runner was last counted busy."""
        now = self._clock()
        seconds, self._busy_since = now - self._busy_since, now
        self._metrics.busy_seconds.inc(seconds)
        return seconds


def _choose_tokens(step: Step, output: StepOutput) -> ReadStep:
    """The host's choice for every row, also of sequences that are gone: the scheduler drops those."""
    params = [sequence.request.request.params for sequence in step.sequences]
    positions = [sequence.num_generated for sequence in step.sequences]
    rows = len(output.candidate_ids)
    if rows != len(step.sequences):
        raise RunnerError(f"the runner returned {rows} rows for a step over {len(step.sequences)}")
    return ReadStep(step, *sample(output, params, positions))
