"""Decides what the next step does: who is let in, who runs, who leaves. Pure state, no I/O; time is an argument.

Each step lets waiting prompts in, oldest first, while there are free slots and the prefill budget lasts, and decodes
every running sequence. A slot that becomes free is refilled in the very next step to be scheduled.

A step may be scheduled before the one before it is read. Sequences count the tokens they cannot know yet: one that
reaches its length with those sits out; one that turns out to have stopped, or to repeat itself, or whose caller left,
loses its slot, and what later steps still generate for it is dropped. A runner's steps take effect in order, so the
slot can be given away at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from predictor.batch import Batch
from predictor.kv_cache import KVCacheManager
from predictor.sequence import RequestState, Sequence
from protocol.errors import Overloaded, TooLong
from protocol.messages import FinishReason


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What the next step does, and for whom."""

    batch: Batch
    """What the runner executes; empty if there is nothing to do."""
    prefills: tuple[Sequence, ...]
    """Whose prompts it reads."""
    decodes: tuple[Sequence, ...]
    """Who gets one more token."""
    aborted: tuple[Sequence, ...]
    """Who left without it: those whose deadline passed, with that reason, and those whose caller left, with none."""

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """In the order of the output's rows: prefills, then decodes."""
        return self.prefills + self.decodes

    @property
    def is_greedy(self) -> bool:
        """Whether all its tokens are best candidates, so that the next step needs none of them to be read."""
        return all(sequence.request.is_greedy for sequence in self.sequences)


class Scheduler:
    """Two queues and a budget each: ``waiting`` is bounded in tokens, ``running`` in slots."""

    def __init__(
        self, *, slots: int, max_sequence_tokens: int, prefill_tokens: int, queue_tokens: int
    ) -> None:
        self.kv_cache = KVCacheManager(slots)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.waiting_tokens = 0
        """Sum of the waiting sequences' ``cost_tokens``."""
        self._max_sequence_tokens = max_sequence_tokens
        self._prefill_tokens = prefill_tokens
        self._queue_tokens = queue_tokens

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    @property
    def kv_tokens_in_use(self) -> int:
        """Tokens in the K/V cache once the steps in flight are done."""
        return sum(sequence.cached_tokens for sequence in self.running)

    def admit(self, request: RequestState, *, tokens_per_s: float) -> None:
        """Let all of a request's sequences wait for slots, or none.

        Args:
            request: not admitted yet.
            tokens_per_s: measured drain rate of the queue, to say when a retry makes sense; 0 if unknown.

        Raises:
            TooLong: it could never be served, even by an idle predictor.
            Overloaded: there is no room now.
        """
        self._refuse_what_never_fits(request)
        excess = self.waiting_tokens + request.cost_tokens - self._queue_tokens
        if excess > 0:
            raise Overloaded(
                f"the queue holds {self.waiting_tokens} of {self._queue_tokens} tokens and this request needs "
                f"{request.cost_tokens}; retry later, or add replicas",
                retry_after_s=max(1.0, min(60.0, excess / tokens_per_s)) if tokens_per_s > 0 else 1.0,
            )
        self.waiting.extend(request.sequences)
        self.waiting_tokens += request.cost_tokens

    def schedule(self, now: float) -> Step:
        """Decide the next step, which counts as launched from here on."""
        aborted = self._drop_abandoned_and_late(now)
        decodes = tuple(sequence for sequence in self.running if sequence.wants_more)
        prefills = tuple(self._admit_prefills())
        self.running.extend(prefills)
        step = Step(Batch.from_sequences(prefills, decodes), prefills, decodes, tuple(aborted))
        for row, sequence in enumerate(step.sequences):
            sequence.launch(row)
        return step

    def update(self, step: Step, token_ids: list[int], logprobs: list[float]) -> list[Sequence]:
        """Append the tokens of the oldest step in flight, one per sequence that still runs.

        Returns:
            The sequences that ended with it, slots freed.
        """
        finished = []
        for sequence, token_id, logprob in zip(step.sequences, token_ids, logprobs, strict=True):
            if not sequence.is_running:
                continue  # it stopped or left while the step was in flight
            sequence.append(token_id, logprob)
            if sequence.finish_reason is not None:
                finished.append(sequence)
        if finished:
            self._remove_running(finished)
        return finished

    def drop_running(self) -> list[Sequence]:
        """Forget all running sequences, since a failed step loses every slot; returns what was forgotten."""
        lost = self.running
        self._remove_running(lost)
        return lost

    def drop_all(self) -> list[Sequence]:
        """Forget everything, running and waiting; returns what was forgotten."""
        everything = [*self.running, *self.waiting]
        self._remove_running(everything)
        self.waiting.clear()
        self.waiting_tokens = 0
        return everything

    def _refuse_what_never_fits(self, request: RequestState) -> None:
        longest = max(sequence.cost_tokens for sequence in request.sequences)
        if longest > self._max_sequence_tokens:
            raise TooLong(
                f"prompt and max_new_tokens come to {longest} tokens, a sequence may hold "
                f"{self._max_sequence_tokens}: shorten the text or lower max_new_tokens"
            )
        if request.cost_tokens > self._queue_tokens:
            raise TooLong(
                f"the request's {len(request.sequences)} sequences come to {request.cost_tokens} tokens, the queue "
                f"takes {self._queue_tokens}: split the request, or raise YIWEN_QUEUE_TOKENS"
            )

    def _drop_abandoned_and_late(self, now: float) -> list[Sequence]:
        # Callers leave and are late by request, so a long queue of few requests costs little to look through.
        requests = {s.request for s in chain(self.running, self.waiting)}
        over = {request for request in requests if request.abandoned or _is_late(request, now)}
        if not over:
            return []
        aborted = [s for s in chain(self.running, self.waiting) if s.request in over]
        for sequence in aborted:
            if not sequence.request.abandoned:
                sequence.finish_reason = FinishReason.DEADLINE
        gone = set(aborted)
        self._remove_running([s for s in aborted if s.is_running])
        self.waiting = deque(s for s in self.waiting if s not in gone)
        self.waiting_tokens = sum(s.cost_tokens for s in self.waiting)
        return aborted

    def _admit_prefills(self) -> list[Sequence]:
        """Oldest first, never overtaking: a long prompt is not starved by short ones behind it."""
        let_in: list[Sequence] = []
        budget = self._prefill_tokens
        while self.waiting and self.kv_cache.num_free:
            sequence = self.waiting[0]
            if let_in and len(sequence.prompt) > budget:
                break
            self.waiting.popleft()
            self.waiting_tokens -= sequence.cost_tokens
            budget -= len(sequence.prompt)
            self.kv_cache.allocate(sequence)
            let_in.append(sequence)
        return let_in

    def _remove_running(self, leaving: Iterable[Sequence]) -> None:
        for sequence in leaving:
            self.kv_cache.deallocate(sequence)
        self.running = [s for s in self.running if s.is_running]


def _is_late(request: RequestState, now: float) -> bool:
    return request.deadline is not None and now >= request.deadline
