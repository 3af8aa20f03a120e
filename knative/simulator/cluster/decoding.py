"""Continuous batching with the step times of a profile, simulated from one change of the batch to the next.

As in ``predictor/scheduler.py``, each step admits waiting prompts, oldest first, within the free slots and the
prefill budget, and generates one token per running sequence. A step with prompts also takes their time. All steps
between two changes of the batch take equally long, so they are one event, a jump. A prompt that arrives while a slot
is free shortens the jump to the end of the current step.

Not simulated: the one step that a runner which launches ahead spends on a sequence that has just ended.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

from knative.profiling.profile import PredictorProfile
from knative.simulator.engine.events import Clock, EndCallback, SimulatedRequest, Status
from knative.simulator.engine.processors import Processor

CONTEXT_BUCKET_TOKENS = 16
"""Context length per column of the step table, tokens: finer than any profile was measured."""


@dataclass(frozen=True, slots=True)
class DecodingModel:
    """A profile as a table for fast look-ups."""

    slots: int
    prefill_tokens: int
    queue_tokens: int
    prefill_seconds_per_token: float
    prefill_step_seconds: float
    """Seconds that a step with prompts takes in addition to their tokens."""
    table: tuple[tuple[float, ...], ...]
    """[sequences][past // PAST_GRAIN] seconds of a step."""

    @classmethod
    def of(cls, profile: PredictorProfile, *, slots: int, queue_tokens: int) -> DecodingModel:
        """The table of a profile.

        Args:
            profile: of the pod's predictor.
            slots: sequences that decode together, at most the profile's.
            queue_tokens: as ``YIWEN_QUEUE_TOKENS``.
        """
        contexts = range(0, profile.max_sequence_tokens + 2 * CONTEXT_BUCKET_TOKENS, CONTEXT_BUCKET_TOKENS)
        rows = [(0.0,) * len(contexts)]
        for count in range(1, slots + 1):
            middles = (tokens + CONTEXT_BUCKET_TOKENS / 2 for tokens in contexts)
            rows.append(tuple(profile.step_seconds(count, tokens) for tokens in middles))
        return cls(
            slots,
            profile.prefill_tokens,
            queue_tokens,
            profile.prefill_seconds_per_token,
            profile.prefill_step_seconds,
            tuple(rows),
        )


class SimulatedDecoder:
    """The decoder of one predictor pod."""

    __slots__ = (
        "_clock",
        "_context_tokens",
        "_first_step_end",
        "_jump_end_step",
        "_model",
        "_on_end",
        "_processor",
        "_running",
        "_running_order",
        "_step",
        "_step_seconds",
        "busy_seconds",
        "steps",
        "waiting",
        "waiting_tokens",
    )

    def __init__(self, clock: Clock, processor: Processor, model: DecodingModel, on_end: EndCallback) -> None:
        """An idle decoder.

        Args:
            clock: the simulation's, for the deadlines of requests. On shared cores a jump may end after a deadline.
            processor: runs its steps.
            model: its step times and limits.
            on_end: called for each request that ends, never within :meth:`submit`.
        """
        self._clock = clock
        self._processor = processor
        self._model = model
        self._on_end = on_end
        self.waiting: deque[SimulatedRequest] = deque()
        self.waiting_tokens = 0
        self.busy_seconds = 0.0
        self.steps = 0
        """Steps that have ended."""
        self._running: list[tuple[int, int, SimulatedRequest]] = []
        """A heap by the step in which each ends."""
        self._running_order: deque[SimulatedRequest] = deque()
        """Running requests in the order of admission; may contain requests that have ended."""
        self._context_tokens = 0
        """Tokens in the K/V cache, over all running requests."""
        self._step = 0.0
        """Start of the jump on the processor's clock; not valid while idle."""
        self._first_step_end = 0.0
        """End of the jump's first step on the processor's clock."""
        self._step_seconds = 0.0
        self._jump_end_step = 0
        """The step after which the jump ends; 0 while idle."""

    @property
    def running(self) -> int:
        """Sequences in slots."""
        return len(self._running)

    def has_room(self, tokens: int) -> bool:
        """Whether the queue takes ``tokens`` more."""
        return self.waiting_tokens + tokens <= self._model.queue_tokens

    def submit(self, request: SimulatedRequest) -> bool:
        """Put a request into the queue; False if the queue is full."""
        if not self.has_room(request.reserved):
            return False
        self.waiting_tokens += request.reserved
        self.waiting.append(request)
        if not self._jump_end_step:
            self._begin()
        elif len(self.waiting) == 1 and len(self._running) < self._model.slots:
            self._shorten_jump()
        return True

    def kill(self) -> list[SimulatedRequest]:
        """Stop, as the pod has died; returns the requests that it had."""
        lost = [*self.waiting, *(request for *_, request in self._running if request.status is None)]
        self.waiting.clear()
        self._running.clear()
        self._processor.cancel()
        self._jump_end_step = 0
        return lost

    def expire(self, now: float) -> None:
        """End the requests whose deadline passed while they waited for a slot."""
        waiting = self.waiting
        while waiting and waiting[0].deadline <= now:
            request = waiting.popleft()
            self.waiting_tokens -= request.reserved
            self._on_end(request, Status.TIMEOUT)

    def _shorten_jump(self) -> None:
        """Shorten the jump to the end of the current step."""
        since = self._processor.now - self._first_step_end
        more = 0 if since < 0 else math.floor(since / self._step_seconds) + 1
        end = self.steps + 1 + more
        if end < self._jump_end_step:
            self._jump_end_step = end
            self._processor.call_at(self._first_step_end + more * self._step_seconds, self._jumped)

    def _jumped(self, _: object) -> None:
        done = self._jump_end_step - self.steps
        self.steps = self._jump_end_step
        self._context_tokens += done * len(self._running)
        now = self._clock.now
        self.busy_seconds += self._processor.now - self._step
        running = self._running
        # Free all slots before the first callback, since a callback may submit the next request.
        over: list[tuple[SimulatedRequest, Status]] = []
        while running and running[0][0] <= self.steps:
            request = heapq.heappop(running)[2]
            self._context_tokens -= request.prompt + request.new
            over.append((request, Status.OK if now <= request.deadline else Status.TIMEOUT))
        late = self._running_order
        while late and (late[0].ends_at <= self.steps or late[0].deadline <= now):
            request = late.popleft()
            if request.ends_at > self.steps:
                self._abort(request)
                over.append((request, Status.TIMEOUT))
        for request, status in over:
            self._on_end(request, status)
        self.expire(now)
        self._begin()

    def _abort(self, request: SimulatedRequest) -> None:
        self._running = [entry for entry in self._running if entry[2] is not request]
        heapq.heapify(self._running)
        self._context_tokens -= request.prompt + request.new - (request.ends_at - self.steps)

    def _begin(self) -> None:
        """Admit prompts and start the next jump, unless there is nothing to do."""
        prompt_tokens = self._admit_prefills()
        count = len(self._running)
        if not count:
            self._jump_end_step = 0
            return
        model, now = self._model, self._processor.now
        steps = self._running[0][0] - self.steps
        if self.waiting and count < model.slots:
            steps = 1  # the prefill budget did not suffice for all prompts
        row = model.table[count]
        mean_past = (self._context_tokens + (steps >> 1) * count) // (count * CONTEXT_BUCKET_TOKENS)
        self._step_seconds = seconds = row[mean_past] if mean_past < len(row) else row[-1]
        first = seconds
        if prompt_tokens:
            first += model.prefill_step_seconds + prompt_tokens * model.prefill_seconds_per_token
        remaining_s = self._running_order[0].deadline - self._clock.now
        if remaining_s < first + (steps - 1) * seconds:
            steps = min(steps, 1 + max(0, math.ceil((remaining_s - first) / seconds)))
        self._step = now
        self._first_step_end = now + first
        self._jump_end_step = self.steps + steps
        self._processor.call_at(now + first + (steps - 1) * seconds, self._jumped)

    def _admit_prefills(self) -> int:
        """Move waiting prompts into free slots, within the prefill budget; returns their number of tokens."""
        model, running, waiting = self._model, self._running, self.waiting
        tokens = count = 0
        while waiting and len(running) < model.slots:
            request = waiting[0]
            if count and tokens + request.prompt > model.prefill_tokens:
                break
            waiting.popleft()
            self.waiting_tokens -= request.reserved
            tokens += request.prompt
            count += 1
            request.ends_at = self.steps + request.new
            heapq.heappush(running, (request.ends_at, request.index, request))
            self._running_order.append(request)
        self._context_tokens += tokens
        return tokens
