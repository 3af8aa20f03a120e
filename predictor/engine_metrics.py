"""Turns what the engine does into its Prometheus metrics, and measures the drain rate that admission needs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

from predictor.metrics import EngineMetrics
from predictor.runners.base import Runner
from predictor.scheduler import Scheduler, Step
from predictor.sequence import Sequence

_RATE_WEIGHT = 0.1
"""Weight of the newest step in the running mean of the drain rate."""


class StepObserver:
    """Observes one engine. Used by the thread that steps it, except for :attr:`tokens_per_s`."""

    def __init__(
        self, metrics: EngineMetrics, runner: Runner, scheduler: Scheduler, clock: Callable[[], float]
    ) -> None:
        """Publish an idle, healthy engine.

        Args:
            metrics: to write to.
            runner: of the engine; its K/V cache and launches are published.
            scheduler: of the engine; its queues are published.
            clock: monotonic, seconds.
        """
        self._metrics = metrics
        self._runner = runner
        self._scheduler = scheduler
        self._clock = clock
        self.tokens_per_s = 0.0
        """Running mean of tokens processed per second, prompt and generated, while there is work."""
        self._last_end = 0.0
        """Monotonic seconds when the engine was last idle, or done with a step."""
        metrics.slots.set(runner.slots)
        metrics.healthy.set(1)

    def idle(self, now: float) -> None:
        """Nothing was in flight until ``now``: the next step's time starts here."""
        self._last_end = now

    def scheduled(self, step: Step, now: float) -> None:
        """Observe the prompts of a step: how long they have waited, and their lengths."""
        for sequence in step.prefills:
            sequence.started = now
            self._metrics.queue_seconds.observe(now - sequence.arrived)
            self._metrics.sequence_prompt_tokens.observe(len(sequence.prompt))

    def collected(self, step: Step, generated_tokens: int) -> None:
        """Count the tokens of a collected step and its time since the one before.

        Args:
            step: whose tokens the sequences have.
            generated_tokens: by sequences that still ran.
        """
        now = self._clock()
        for sequence in step.prefills:
            if sequence.num_generated:  # it was not dropped while the step was in flight
                sequence.first_token_at = now
                self._metrics.time_to_first_token_seconds.observe(now - sequence.arrived)
        prompt_tokens = step.batch.prompt_tokens
        seconds, self._last_end = now - self._last_end, now
        rate = (prompt_tokens + generated_tokens) / max(seconds, 1e-9)
        self.tokens_per_s += (rate - self.tokens_per_s) * (_RATE_WEIGHT if self.tokens_per_s else 1.0)
        self._metrics.step_seconds.observe(seconds)
        self._metrics.prompt_tokens.inc(prompt_tokens)
        self._metrics.generated_tokens.inc(generated_tokens)

    def finished(self, sequences: Seq[Sequence]) -> None:
        """Count ended sequences by reason; one without a reason was cancelled."""
        now = self._clock()
        for sequence in sequences:
            reason = sequence.finish_reason
            self._metrics.sequence_ended(reason.value if reason else "cancelled")
            if not sequence.num_generated:
                continue
            self._metrics.sequence_generated_tokens.observe(sequence.num_generated)
            if sequence.num_generated > 1:
                seconds = (now - sequence.first_token_at) / (sequence.num_generated - 1)
                self._metrics.time_per_output_token_seconds.observe(seconds)

    def failed(self, sequences: Seq[Sequence]) -> None:
        """Count sequences that were lost."""
        for _ in sequences:
            self._metrics.sequence_ended("failed")

    def step_failed(self) -> None:
        """Count a failed step."""
        self._metrics.step_failures.inc()

    def unhealthy(self) -> None:
        """Publish that the engine serves no more."""
        self._metrics.healthy.set(0)

    def observe_state(self) -> None:
        """Publish the queues, the K/V cache and the runner's launches as they are now."""
        scheduler, runner, metrics = self._scheduler, self._runner, self._metrics
        metrics.slots_used.set(scheduler.kv_cache.num_used)
        metrics.kv_cache_usage.set(scheduler.kv_cache.num_used / runner.slots)
        metrics.waiting_sequences.set(len(scheduler.waiting))
        metrics.waiting_tokens.set(scheduler.waiting_tokens)
        metrics.kv_bytes.set(runner.kv_bytes)
        metrics.kv_bytes_used.set(scheduler.kv_tokens_in_use * runner.kv_bytes_per_token)
        metrics.count_launches(runner.launches)
