"""The steps in flight: launched on the runner, collected oldest first, timed.

The engine decides when a step is launched and when one is collected; this keeps them in order, samples a runner's
output, and turns every failure on the way into :class:`StepFailed`.
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
    """A step in flight failed, and every other step in flight is lost; the cause is the runner's error."""


@dataclass(frozen=True, slots=True, eq=False)
class CompletedStep:
    """A collected step and its sampled tokens, in the order of its sequences."""

    step: Step
    token_ids: list[int]
    logprobs: list[float]
    seconds: float
    """That the runner was busy with it alone."""

    def subscribed_tokens(self) -> list[tuple[Subscriber, Sequence, int, float]]:
        """Subscriber, sequence, token and its log-probability, for each running sequence with a subscriber."""
        return [
            (sequence.request.subscriber, sequence, token_id, logprob)
            for sequence, token_id, logprob in zip(
                self.step.sequences, self.token_ids, self.logprobs, strict=True
            )
            if sequence.request.subscriber is not None and sequence.is_running
        ]


class StepPipeline:
    """Launched steps that are not collected yet. Used by one thread."""

    def __init__(self, runner: Runner, metrics: EngineMetrics, clock: Callable[[], float]) -> None:
        """Nothing is in flight.

        Args:
            runner: executes the steps.
            metrics: for the runner's time.
            clock: monotonic, seconds.
        """
        self._runner = runner
        self._metrics = metrics
        self._clock = clock
        self._in_flight: deque[Step] = deque()
        self._busy_since = 0.0
        """Monotonic seconds up to which the runner's busy time is counted."""

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
        except Exception as error:  # any error of a runner costs the steps in flight, never the server
            self._discard_all()
            raise StepFailed from error

    def collect(self) -> CompletedStep:
        """Wait for the oldest step and sample its tokens.

        Raises:
            StepFailed: nothing is in flight any more.
        """
        try:
            output = self._runner.collect()
        except Exception as error:  # as in launch
            self._discard_all()
            raise StepFailed from error
        step = self._in_flight.popleft()
        seconds = self._count_busy()
        self._metrics.runner_seconds.observe(seconds)
        try:
            return _sample_step(step, output, seconds)
        except Exception as error:  # an output that does not fit the step
            self._drain()
            raise StepFailed from error

    def _drain(self) -> None:
        """Wait for the steps that the runner still executes, and discard them."""
        with suppress(Exception):
            for _ in self._in_flight:
                self._runner.collect()
        self._discard_all()

    def _discard_all(self) -> None:
        self._in_flight.clear()
        self._count_busy()

    def _count_busy(self) -> float:
        """Add the time since the last call to the runner's busy time; returns it, seconds."""
        now = self._clock()
        seconds, self._busy_since = now - self._busy_since, now
        self._metrics.busy_seconds.inc(seconds)
        return seconds


def _sample_step(step: Step, output: StepOutput, seconds: float) -> CompletedStep:
    """Sample every row, also of sequences that ended meanwhile: the scheduler drops those."""
    params = [sequence.request.request.params for sequence in step.sequences]
    positions = [sequence.num_generated for sequence in step.sequences]
    rows = len(output.candidate_ids)
    if rows != len(step.sequences):
        raise RunnerError(f"the runner returned {rows} rows for a step over {len(step.sequences)}")
    return CompletedStep(step, *sample(output, params, positions), seconds)
