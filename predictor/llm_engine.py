"""Continuous batching over one runner: requests in, futures out, one step at a time.

Callers submit requests from any thread and get a future at once; cancelling it aborts the request. A lock guards the
scheduler and is never held while the runner works, so no caller waits for a step.

Over a runner that runs ahead, step n+1 is launched before step n is collected, so that the device never waits for
Python: the device itself has the newest token of a greedy sequence. A sampled token is drawn on the host, so a step
with a sampled row is collected before the next one is scheduled.

``scheduler`` decides what a step does, ``pipeline`` holds the steps in flight, ``engine_thread`` calls
:meth:`LLMEngine.step` while there is work, ``engine_metrics`` counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq

from predictor.engine_metrics import StepObserver
from predictor.engine_thread import EngineThread
from predictor.metrics import EngineMetrics
from predictor.pipeline import CompletedStep, StepFailed, StepPipeline
from predictor.runners.base import Runner
from predictor.scheduler import Scheduler, Step
from predictor.sequence import GenerationFuture, RequestState, Sequence, Subscriber
from protocol.deadline import Deadline
from protocol.error_codes import ErrorCode
from protocol.errors import InternalFault, NotReady, YiwenError
from protocol.messages import GenerateRequest
from protocol.release import Release

logger = logging.getLogger(__name__)


class LLMEngine:
    """Continuous batching over one runner."""

    def __init__(
        self,
        runner: Runner,
        release: Release,
        *,
        prefill_tokens: int,
        queue_tokens: int,
        bulk_slowdown: float = 1.25,
        metrics: EngineMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a loaded runner; nothing runs before :meth:`start` or :meth:`step`.

        Args:
            runner: executes the steps; used by the thread that calls :meth:`step` alone.
            release: of the runner's decoder.
            prefill_tokens: prompt tokens that one step may read.
            queue_tokens: tokens that may wait for a slot.
            bulk_slowdown: as of :class:`predictor.scheduler.Scheduler`.
            metrics: of the process.
            clock: monotonic, seconds.
        """
        self.scheduler = Scheduler(
            slots=runner.slots,
            max_sequence_tokens=release.limits.max_sequence_tokens,
            prefill_tokens=prefill_tokens,
            queue_tokens=queue_tokens,
            bulk_slowdown=bulk_slowdown,
        )
        """Guarded by the engine's lock; public for tests, which step the engine by hand."""
        self._runner = runner
        self._release = release
        self._stop_token_ids = frozenset(release.stop_token_ids)
        self._pipeline = StepPipeline(runner, metrics, clock)
        self._observer = StepObserver(metrics, runner, self.scheduler, clock)
        self._clock = clock
        self._thread = EngineThread(self)
        self._lock = self._thread.condition

    @property
    def is_healthy(self) -> bool:
        """False after too many failed steps in a row, and once the thread has crashed."""
        return self._thread.is_healthy

    @property
    def is_ready(self) -> bool:
        """Whether it is healthy and its thread runs."""
        return self._thread.is_healthy and self._thread.is_alive

    @property
    def is_stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._thread.is_stopping

    @property
    def has_work(self) -> bool:
        """Whether :meth:`step` has anything to do; after :meth:`stop` only the steps in flight count."""
        return bool(self.steps_in_flight or (self.scheduler.has_work and not self.is_stopping))

    @property
    def steps_in_flight(self) -> int:
        """Steps launched and not collected."""
        return len(self._pipeline)

    def start(self) -> None:
        """Start the thread that calls :meth:`step`."""
        self._thread.start()

    def stop(self) -> None:
        """Collect the steps in flight, end the thread, and fail what is unfinished with :class:`NotReady`."""
        self._thread.stop()
        self._fail_all(
            NotReady("the predictor is shutting down", code=ErrorCode.SHUTTING_DOWN, retry_after_s=1.0)
        )

    def submit(
        self,
        request: GenerateRequest,
        *,
        deadline: Deadline | None = None,
        subscriber: Subscriber | None = None,
    ) -> GenerationFuture:
        """Queue a request; never blocks on a step.

        Args:
            request: its token ids must be within the vocabulary.
            deadline: ends the sequences that are unfinished by then, on the engine's clock.
            subscriber: is told each token once its step is collected, and the end of each sequence that ends by
                itself.

        Returns:
            Resolves when every sequence has ended. Cancelling it frees the slots before the next step. If the
            deadline passes it still resolves when some sequences were complete, the others ending with
            :attr:`FinishReason.DEADLINE`; when none was, it raises :class:`DeadlineExceeded`.

        Raises:
            TooLong, Overloaded: the request is not admitted.
            NotReady: the engine is unhealthy or stopping.
        """
        state = RequestState.from_message(
            request,
            deadline=deadline,
            subscriber=subscriber,
            stop_token_ids=self._stop_token_ids,
            arrived=self._clock(),
        )
        with self._lock:
            if self.is_stopping or not self.is_healthy:
                raise NotReady("the predictor is not healthy and is about to be restarted", retry_after_s=5.0)
            self.scheduler.admit(state, tokens_per_s=self._observer.tokens_per_s)
            self._lock.notify()
        return state.future

    def step(self) -> None:
        """Schedule and launch one step, then collect, sample and update what may not stay in flight.

        One step stays in flight if the runner runs ahead and the next step needs none of its tokens on the host. A
        failed step fails every running sequence; too many in a row fail the waiting ones and the engine's health.
        """
        try:
            step = self._schedule()
            if step is not None:
                self._pipeline.launch(step)
            may_stay = 1 if step is not None and self._runner.runs_ahead and step.is_greedy else 0
            while self.steps_in_flight > may_stay:
                self._update(self._pipeline.collect())
        except StepFailed as failure:
            self._fail_running(failure)
        self._observer.observe_state()

    def mark_unhealthy(self) -> None:
        """Refuse every further request and fail all that are queued or running."""
        self._thread.mark_unhealthy()
        self._observer.unhealthy()
        self._fail_all(
            NotReady("the predictor failed repeatedly and is about to be restarted", retry_after_s=5.0)
        )

    def _schedule(self) -> Step | None:
        """The next step, or None if there is nothing to launch."""
        now = self._clock()
        if not self.steps_in_flight:
            self._observer.idle(now)
        with self._lock:
            if self.is_stopping:
                return None
            step = self.scheduler.schedule(now)
        self._observer.scheduled(step, now)
        self._finish(step.aborted)
        return step if step.batch else None

    def _update(self, completed: CompletedStep) -> None:
        """Append a step's tokens, publish them, and resolve the requests that ended with it."""
        with self._lock:
            generated = sum(sequence.is_running for sequence in completed.step.sequences)
            subscribed = completed.subscribed_tokens()
            finished = self.scheduler.update(
                completed.step, completed.token_ids, completed.logprobs, seconds=completed.seconds
            )
        self._thread.step_succeeded()
        for subscriber, sequence, token_id, logprob in subscribed:
            subscriber.publish(sequence.delta(token_id, logprob, self._release.id))
        self._observer.collected(completed.step, generated)
        self._finish(finished)

    def _finish(self, sequences: Seq[Sequence]) -> None:
        """Resolve every request whose sequences have all ended."""
        self._observer.finished(sequences)
        for request in _requests_of(sequences):
            if request.is_finished:
                request.resolve(self._release.id)

    def _fail_running(self, failure: StepFailed) -> None:
        has_health_left = self._thread.step_failed()
        with self._lock:
            lost = self.scheduler.drop_running()
        self._observer.step_failed()
        logger.exception(
            "step failed", extra={"fields": {"sequences": len(lost)}}, exc_info=failure.__cause__
        )
        self._fail(lost, InternalFault("the model failed on this batch; retry, and see the predictor's log"))
        if not has_health_left:
            self.mark_unhealthy()

    def _fail_all(self, error: YiwenError) -> None:
        with self._lock:
            dropped = self.scheduler.drop_all()
        self._fail(dropped, error)
        self._observer.observe_state()

    def _fail(self, sequences: Seq[Sequence], error: YiwenError) -> None:
        for request in _requests_of(sequences):
            request.fail(error)
        self._observer.failed(sequences)


def _requests_of(sequences: Seq[Sequence]) -> list[RequestState]:
    """Each request once, in order of first appearance."""
    return list(dict.fromkeys(sequence.request for sequence in sequences))
