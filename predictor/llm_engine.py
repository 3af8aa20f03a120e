"""The loop: schedule, launch, read, update, answer.

One thread runs it. Callers hand over requests from any thread, get a future at once, and leave by cancelling it. A
lock guards the scheduler's state and is never held while the runner works, so nobody waits for a step.

Over a runner that runs ahead the loop launches step n+1 before it reads step n, so that the device never waits for
Python: a greedy sequence's newest token need not be known here to be continued there. A sampled token is drawn here,
from all that was generated before; a step with a sampled row is therefore read before the next one is scheduled.
That slows the greedy rows beside it a little, but keeps a step what it is everywhere else: all that runs.

It knows nothing of HTTP, tokens' meaning or what executes them. ``scheduler`` decides what a step does, ``pipeline``
keeps the steps in flight.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from concurrent.futures import Future, InvalidStateError

from predictor.metrics import EngineMetrics
from predictor.pipeline import StepFailed, StepPipeline
from predictor.repetition import RepetitionDetector
from predictor.runners.base import Runner
from predictor.scheduler import Scheduler, Step
from predictor.sequence import RequestState, Sequence, Subscriber
from protocol.errors import DeadlineExceeded, InternalFault, NotReady, YiwenError
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse
from protocol.release import Release

MAX_FAILURES_IN_A_ROW = 3
"""After so many failed steps in a row the predictor calls itself unhealthy, and Kubernetes restarts it."""

_RATE_WEIGHT = 0.1
"""Weight of the newest step in the running mean of the drain rate."""

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
        metrics: EngineMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._release = release
        self._stop_token_ids = frozenset(release.stop_token_ids)
        self._scheduler = Scheduler(
            slots=runner.slots,
            max_sequence_tokens=release.limits.max_sequence_tokens,
            prefill_tokens=prefill_tokens,
            queue_tokens=queue_tokens,
        )
        self._pipeline = StepPipeline(runner, metrics, clock)
        self._metrics = metrics
        self._clock = clock
        self._wake = threading.Condition()
        """Guards the scheduler and ``_stopping``; notified when there is something to do."""
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._stopping = False
        self._failures_in_a_row = 0
        self._tokens_per_s = 0.0
        """Running mean of tokens drained a second, prompt and generated, while there is work."""
        self._last_end = 0.0
        """Monotonic seconds when the loop was last idle, or done with a step."""
        metrics.slots_total.set(runner.slots)
        metrics.healthy.set(1)

    @property
    def is_healthy(self) -> bool:
        """False once ``MAX_FAILURES_IN_A_ROW`` steps failed in a row, or the loop's thread ended."""
        return self._failures_in_a_row < MAX_FAILURES_IN_A_ROW and self._thread.is_alive()

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the loop after the steps in flight; whoever still waits gets :class:`NotReady`."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._fail_everything(NotReady("the predictor is shutting down", retry_after_s=1.0))

    def submit(
        self,
        request: GenerateRequest,
        *,
        deadline: float | None = None,
        subscriber: Subscriber | None = None,
    ) -> Future[GenerateResponse]:
        """Hand over a request; never blocks on a step.

        Args:
            request: its token ids must be within the vocabulary.
            deadline: monotonic seconds after which the answer is of no use.
            subscriber: is told each token once its step is read, and the end of each sequence that ends by itself.

        Returns:
            Resolves when every sequence has ended. Cancelling it frees the slots before the next step. If the
            deadline passes it still resolves when some sequences were complete, the others ending with
            :attr:`FinishReason.DEADLINE`; when none was, it raises :class:`DeadlineExceeded`.

        Raises:
            TooLong, Overloaded: refused at the door.
            NotReady: unhealthy or stopping.
        """
        entry = self._request_from_message(request, deadline, subscriber)
        with self._wake:
            if self._stopping or not self.is_healthy:
                raise NotReady("the predictor is not healthy and is about to be restarted", retry_after_s=5.0)
            self._scheduler.admit(entry, tokens_per_s=self._tokens_per_s)
            self._wake.notify()
        return entry.future

    def step(self) -> None:
        """Launch the next step and read the one before, or the same one where the runner does not run ahead.

        The loop calls it while there is work; tests may call it by hand.

        Raises:
            StepFailed: all that was in flight is lost.
        """
        stays = self._launch_next()
        while len(self._pipeline) > stays:
            self._read_oldest()
        self._observe_state()

    def _launch_next(self) -> int:
        """Start what there is to do; returns how many steps may stay in flight meanwhile."""
        now = self._clock()
        if len(self._pipeline) == 0:
            self._last_end = now
        with self._wake:
            if self._stopping:
                return 0
            step = self._scheduler.schedule(now)
        self._observe_queue(step, now)
        self._end(step.aborted)
        if not step.batch:
            return 0
        self._pipeline.launch(step)
        return 1 if self._runner.runs_ahead and step.is_greedy else 0

    def _read_oldest(self) -> None:
        read = self._pipeline.read()
        with self._wake:
            generated = sum(sequence.is_running for sequence in read.step.sequences)
            followed = read.followed()
            finished = self._scheduler.update(read.step, read.token_ids, read.logprobs)
        self._failures_in_a_row = 0
        for subscriber, sequence, token_id, logprob in followed:
            subscriber.publish(sequence.delta(token_id, logprob, self._release.id))
        self._end(finished)
        self._observe_step(read.step.batch.prompt_tokens, generated)

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._step_or_fail()
        finally:
            # Also when the loop itself broke, which only a bug of ours can do: nobody may wait for ever.
            if not self._stopping:
                self._become_unhealthy()

    def _wait_for_work(self) -> bool:
        """Block until there is something to do; False when the engine stops and nothing is in flight."""
        with self._wake:
            self._wake.wait_for(lambda: self._scheduler.has_work or len(self._pipeline) or self._stopping)
            return not self._stopping or len(self._pipeline) > 0

    def _step_or_fail(self) -> None:
        """One step; a failure costs all that runs, and after three in a row everything and the health."""
        try:
            self.step()
        except StepFailed as failure:
            self._failures_in_a_row += 1
            self._metrics.step_failures.inc()
            with self._wake:
                lost = self._scheduler.drop_running()
            logger.exception(
                "step failed", extra={"fields": {"sequences": len(lost)}}, exc_info=failure.__cause__
            )
            self._fail(
                lost, InternalFault("the model failed on this batch; retry, and see the predictor's log")
            )
            self._observe_state()
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                self._become_unhealthy()

    def _request_from_message(
        self, message: GenerateRequest, deadline: float | None, subscriber: Subscriber | None
    ) -> RequestState:
        entry = RequestState(message, deadline, future=Future(), subscriber=subscriber)
        now = self._clock()
        repeats = message.max_repeats or (0,) * len(message.prompts)
        rows = zip(message.prompts, message.max_new_tokens, repeats, strict=True)
        entry.sequences = [
            Sequence(
                prompt, bound, entry, self._stop_token_ids, arrived=now, index=index,
                repetition=RepetitionDetector(allowed) if allowed else None,
            )
            for index, (prompt, bound, allowed) in enumerate(rows)
        ]  # fmt: skip
        return entry

    def _end(self, sequences: Seq[Sequence]) -> None:
        """Resolve every request all of whose sequences have ended; a sequence without a reason was abandoned."""
        for sequence in sequences:
            self._metrics.sequence_ended(
                sequence.finish_reason.value if sequence.finish_reason else "cancelled"
            )
        for entry in {id(s.request): s.request for s in sequences}.values():
            if all(s.finish_reason is not None for s in entry.sequences):
                self._resolve(entry)

    def _resolve(self, entry: RequestState) -> None:
        generations = tuple(sequence.generation() for sequence in entry.sequences)
        if all(g.finish_reason is FinishReason.DEADLINE for g in generations):
            _settle(
                entry.future, error=DeadlineExceeded("the deadline passed before any sequence was complete")
            )
        else:
            _settle(entry.future, result=GenerateResponse(generations, self._release.id))

    def _fail(self, sequences: Seq[Sequence], error: YiwenError) -> None:
        for entry in {id(s.request): s.request for s in sequences}.values():
            _settle(entry.future, error=error)
        for _ in sequences:
            self._metrics.sequence_ended("failed")

    def _become_unhealthy(self) -> None:
        self._failures_in_a_row = MAX_FAILURES_IN_A_ROW
        self._metrics.healthy.set(0)
        self._fail_everything(
            NotReady("the predictor failed repeatedly and is about to be restarted", retry_after_s=5.0)
        )

    def _fail_everything(self, error: YiwenError) -> None:
        with self._wake:
            forgotten = self._scheduler.drop_all()
        self._fail(forgotten, error)
        self._observe_state()

    def _observe_queue(self, step: Step, now: float) -> None:
        for sequence in step.prefills:
            self._metrics.queue_seconds.observe(now - sequence.arrived)

    def _observe_step(self, prompt_tokens: int, generated_tokens: int) -> None:
        now = self._clock()
        seconds, self._last_end = now - self._last_end, now
        rate = (prompt_tokens + generated_tokens) / max(seconds, 1e-9)
        self._tokens_per_s += (rate - self._tokens_per_s) * (_RATE_WEIGHT if self._tokens_per_s else 1.0)
        self._metrics.step_seconds.observe(seconds)
        self._metrics.prompt_tokens.inc(prompt_tokens)
        self._metrics.generated_tokens.inc(generated_tokens)

    def _observe_state(self) -> None:
        self._metrics.slots_used.set(self._scheduler.kv_cache.num_used)
        self._metrics.waiting_sequences.set(len(self._scheduler.waiting))
        self._metrics.waiting_tokens.set(self._scheduler.waiting_tokens)
        self._metrics.kv_bytes.set(self._runner.kv_bytes)
        self._metrics.kv_bytes_used.set(self._scheduler.kv_tokens_in_use * self._runner.kv_bytes_per_token)
        self._metrics.count_launches(self._runner.launches)


def _settle(
    future: Future[GenerateResponse],
    *,
    result: GenerateResponse | None = None,
    error: YiwenError | None = None,
) -> None:
    """Resolve ``future`` unless its caller left in the same moment."""
    try:
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)
    except InvalidStateError:
        pass  # cancelled between our look and now: nobody listens
