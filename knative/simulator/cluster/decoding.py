"""A predictor at work: continuous batching after a profile, in jumps from one change of the batch to the next.

As ``predictor/scheduler.py`` does it: each step lets waiting prompts in, oldest first, while slots and the prefill
budget last, and generates one token for every running sequence. A step with prompts takes its prompts' tokens on
top. Between two changes all steps are alike, so they are one event; a prompt that finds a free slot cuts the jump at
the end of the step that runs.

What it leaves out: the one step that a runner which runs ahead spends on a sequence that has just ended.
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
"""Tokens of past per entry of the table of steps: finer than any profile was measured."""


@dataclass(frozen=True, slots=True)
class DecodingModel:
    """A profile made ready for many look-ups."""

    slots: int
    prefill_tokens: int
    queue_tokens: int
    prefill_seconds_per_token: float
    prefill_step_seconds: float
    """Of a step that reads prompts, beside their tokens."""
    table: tuple[tuple[float, ...], ...]
    """[sequences][past // PAST_GRAIN] seconds of a step."""

    @classmethod
    def of(cls, profile: PredictorProfile, *, slots: int, queue_tokens: int) -> DecodingModel:
        """From a profile.

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
    """One pod's predictor."""

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
        """An idle predictor.

        Args:
            clock: the simulation's, on which callers' patience ends. A jump foresees that only as far as it has its
                processor to itself.
            processor: what its steps take their time of.
            model: what it can do.
            on_end: is told each request's end, never from within :meth:`submit`.
        """
        self._clock = clock
        self._processor = processor
        self._model = model
        self._on_end = on_end
        self.waiting: deque[SimulatedRequest] = deque()
        self.waiting_tokens = 0
        self.busy_seconds = 0.0
        self.steps = 0
        """Steps that are done."""
        self._running: list[tuple[int, int, SimulatedRequest]] = []
        """A heap by the step that ends each."""
        self._running_order: deque[SimulatedRequest] = deque()
        """The running in the order they were let in, some of them ended already."""
        self._context_tokens = 0
        """Sum of the tokens in the slots."""
        self._step = 0.0
        """When the jump began, on the processor's clock; meaningless while idle."""
        self._first_step_end = 0.0
        """On the same clock."""
        self._step_seconds = 0.0
        self._jump_end_step = 0
        """The step after which the jump ends; 0 while idle."""

    @property
    def running(self) -> int:
        """Sequences in slots."""
        return len(self._running)

    def submit(self, request: SimulatedRequest) -> bool:
        """Take a request in; False if the queue has no room for it."""
        if self.waiting_tokens + request.reserved > self._model.queue_tokens:
            return False
        self.waiting_tokens += request.reserved
        self.waiting.append(request)
        if not self._jump_end_step:
            self._begin()
        elif len(self.waiting) == 1 and len(self._running) < self._model.slots:
            self._shorten_jump()
        return True

    def kill(self) -> list[SimulatedRequest]:
        """The pod is gone; returns what was in it."""
        lost = [*self.waiting, *(request for *_, request in self._running if request.status is None)]
        self.waiting.clear()
        self._running.clear()
        self._processor.cancel()
        self._jump_end_step = 0
        return lost

    def expire(self, now: float) -> None:
        """Let go of those that waited too long for a slot."""
        waiting = self.waiting
        while waiting and waiting[0].deadline <= now:
            request = waiting.popleft()
            self.waiting_tokens -= request.reserved
            self._on_end(request, Status.TIMEOUT)

    def _shorten_jump(self) -> None:
        """End the jump with the step that runs now."""
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
        # Slots first, callers after: who is told of an end may bring the next request at once.
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
        """Let prompts in and start the next jump, if there is anything to do."""
        prompt_tokens = self._admit_prefills()
        count = len(self._running)
        if not count:
            self._jump_end_step = 0
            return
        model, now = self._model, self._processor.now
        steps = self._running[0][0] - self.steps
        if self.waiting and count < model.slots:
            steps = 1  # the prefill budget left some waiting
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
        """Move waiting prompts into slots; returns their tokens."""
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
