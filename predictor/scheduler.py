"""Decides what the next step does: which prompts are admitted, who decodes, who is aborted.

Pure state without I/O; time is an argument. Each step admits waiting prompts, the most urgent first and of these the
oldest, while there are free slots and the prefill budget lasts, and decodes every running sequence. A slot that
becomes free is refilled in the very next step to be scheduled. Bulk, which is less urgent than the default, leaves
slots to others, and sits steps out while others run (:mod:`predictor.bulk_pacing`).

A step may be scheduled before the one before it is collected. Sequences count the tokens in flight: one that reaches
its length with those is not decoded again; one that turns out to have stopped, to repeat itself, or to be cancelled,
loses its slot, and its rows in later steps are dropped. A runner's steps take effect in order, so its slot can be
given away at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from predictor.batch import Batch
from predictor.bulk_pacing import BulkPacer
from predictor.kv_cache import KVCacheManager
from predictor.sequence import RequestState, Sequence
from protocol.error_codes import ErrorCode
from protocol.errors import Overloaded, TooLong
from protocol.messages import FinishReason

MAX_PASSES = 16
"""So many sequences may pass bulk that waits; then one of bulk has its turn."""
SPARE_SHARE = 16
"""One slot of so many is not given to bulk, so that others need not wait for one."""
SPARE_S = 10.0
"""Seconds for which that holds after others ran; bulk that is alone may have all slots."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step over all running sequences."""

    batch: Batch
    """The step's work for the runner; empty if there is none."""
    prefills: tuple[Sequence, ...]
    """Sequences whose prompts it reads."""
    decodes: tuple[Sequence, ...]
    """Running sequences that it generates one more token for."""
    aborted: tuple[Sequence, ...]
    """Sequences dropped before it: with the reason ``DEADLINE``, or with none where the request was cancelled."""

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """In the order of the output's rows: prefills, then decodes."""
        return self.prefills + self.decodes

    @property
    def is_greedy(self) -> bool:
        """Whether all its tokens are best candidates, so that the next step needs none of them to be read."""
        return all(sequence.request.is_greedy for sequence in self.sequences)


class Scheduler:
    """Two queues: ``waiting`` is bounded in tokens, ``running`` in slots."""

    def __init__(
        self,
        *,
        slots: int,
        max_sequence_tokens: int,
        prefill_tokens: int,
        queue_tokens: int,
        bulk_slowdown: float = 1.25,
    ) -> None:
        """Nothing waits and nothing runs.

        Args:
            slots: sequences that decode together.
            max_sequence_tokens: most tokens of a sequence, prompt and answer.
            prefill_tokens: prompt tokens that one step may read; one prompt is always admitted.
            queue_tokens: most tokens of the waiting sequences, prompts and answers.
            bulk_slowdown: how many times as long bulk may make the steps of others, together; more than 1.
        """
        self.kv_cache = KVCacheManager(slots)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.waiting_tokens = 0
        """Sum of the waiting sequences' ``cost_tokens``."""
        self._max_sequence_tokens = max_sequence_tokens
        self._prefill_tokens = prefill_tokens
        self._pacer = BulkPacer(bulk_slowdown)
        self._spare_slots = -(-slots // SPARE_SHARE)
        self._others_until = float("-inf")
        """Monotonic seconds until which bulk leaves slots to others."""
        self._passes = 0
        """Urgent sequences that were admitted while bulk waited, since bulk was."""
        self._queue_tokens = queue_tokens

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    @property
    def kv_tokens_in_use(self) -> int:
        """Tokens in the K/V cache once the steps in flight are done."""
        return sum(sequence.cached_tokens for sequence in self.running)

    def admit(self, request: RequestState, *, tokens_per_s: float) -> None:
        """Queue all sequences of a request, or none.

        Args:
            request: not queued yet.
            tokens_per_s: measured drain rate of the queue, for ``retry_after_s``; 0 if unknown.

        Raises:
            TooLong: it could never be served, even by an idle predictor.
            Overloaded: there is no room now.
        """
        self._check_fits(request)
        excess = self.waiting_tokens + request.cost_tokens - self._queue_tokens
        if excess > 0:
            raise Overloaded(
                f"the queue holds {self.waiting_tokens} of {self._queue_tokens} tokens and this request needs "
                f"{request.cost_tokens}; retry later, or add replicas",
                retry_after_s=max(1.0, min(60.0, excess / tokens_per_s)) if tokens_per_s > 0 else 1.0,
                code=ErrorCode.QUEUE_FULL,
            )
        self._enqueue(request)
        self.waiting_tokens += request.cost_tokens

    def _enqueue(self, request: RequestState) -> None:
        """Let a request's sequences wait behind all that are as urgent, in front of those that are less so."""
        last = self.waiting[-1].request.urgency if self.waiting else request.urgency
        self.waiting.extend(request.sequences)
        if request.urgency < last:
            self.waiting = deque(sorted(self.waiting, key=lambda sequence: sequence.request.urgency))

    def schedule(self, now: float) -> Step:
        """The next step, which counts as launched from here on; ``now`` in monotonic seconds."""
        aborted = self._abort_cancelled_and_expired(now)
        with_others = self._has_others()
        if with_others:
            self._others_until = now + SPARE_S
            self._note_arrival(now)
        takes_bulk = not with_others or self._pacer.may_join
        decodes = [sequence for sequence in self.running if sequence.has_budget]
        held = [] if takes_bulk else [sequence for sequence in decodes if sequence.is_bulk]
        if held:
            decodes = [sequence for sequence in decodes if not sequence.is_bulk]
        prefills = tuple(self._admit_prefills(self._bulk_slots(now) if takes_bulk else 0))
        self.running.extend(prefills)
        batch = Batch.from_sequences(prefills, decodes, held)
        step = Step(batch, prefills, tuple(decodes), tuple(aborted))
        for row, sequence in enumerate(step.sequences):
            sequence.launch(row)
        return step

    def update(
        self, step: Step, token_ids: list[int], logprobs: list[float], *, seconds: float = 0.0
    ) -> list[Sequence]:
        """Append the tokens of the oldest step in flight to the sequences that still run.

        Args:
            step: the oldest step in flight.
            token_ids: one per sequence of the step, in its order.
            logprobs: of these tokens.
            seconds: that the step took.

        Returns:
            The sequences that ended with it; their slots are free.
        """
        self._observe_pace(step, seconds)
        finished = []
        for sequence, token_id, logprob in zip(step.sequences, token_ids, logprobs, strict=True):
            if not sequence.is_running:
                continue  # it ended while the step was in flight
            sequence.append(token_id, logprob)
            if sequence.finish_reason is not None:
                finished.append(sequence)
        if finished:
            self._remove_running(finished)
        return finished

    def drop_running(self) -> list[Sequence]:
        """Drop and return all running sequences: a failed step loses every slot."""
        lost = self.running
        self._remove_running(lost)
        return lost

    def drop_all(self) -> list[Sequence]:
        """Drop and return all sequences, running and waiting."""
        everything = [*self.running, *self.waiting]
        self._remove_running(everything)
        self.waiting.clear()
        self.waiting_tokens = 0
        return everything

    def _check_fits(self, request: RequestState) -> None:
        longest = max(sequence.cost_tokens for sequence in request.sequences)
        if longest > self._max_sequence_tokens:
            raise TooLong(
                f"prompt and max_new_tokens come to {longest} tokens, a sequence may hold "
                f"{self._max_sequence_tokens}: shorten the text or lower max_new_tokens",
                code=ErrorCode.SEQUENCE_TOO_LONG,
            )
        if request.cost_tokens > self._queue_tokens:
            raise TooLong(
                f"the request's {len(request.sequences)} sequences come to {request.cost_tokens} tokens, the queue "
                f"takes {self._queue_tokens}: split the request, or raise YIWEN_QUEUE_TOKENS"
            )

    def _abort_cancelled_and_expired(self, now: float) -> list[Sequence]:
        # Requests are cancelled and expire as a whole, so a long queue of few requests costs little to search.
        requests = {s.request for s in chain(self.running, self.waiting)}
        ended = {request for request in requests if request.is_aborted or _has_expired(request, now)}
        if not ended:
            return []
        aborted = [s for s in chain(self.running, self.waiting) if s.request in ended]
        for sequence in aborted:
            if not sequence.request.is_aborted:
                sequence.finish_reason = FinishReason.DEADLINE
        dropped = set(aborted)
        self._remove_running([s for s in aborted if s.is_running])
        self.waiting = deque(s for s in self.waiting if s not in dropped)
        self.waiting_tokens = sum(s.cost_tokens for s in self.waiting)
        return aborted

    def _has_others(self) -> bool:
        """Whether sequences other than bulk take part in the next step."""
        if self.waiting and self.kv_cache.num_free and not self.waiting[0].is_bulk:
            return True
        return any(not sequence.is_bulk and sequence.has_budget for sequence in self.running)

    def _bulk_slots(self, now: float) -> int:
        """The slots that bulk may have: all, or what leaves some to others that ran lately, but always one."""
        if now > self._others_until:
            return self.kv_cache.num_slots
        others = sum(not sequence.is_bulk for sequence in self.running)
        return max(1, self.kv_cache.num_slots - self._spare_slots - others)

    def _admit_prefills(self, bulk_slots: int) -> list[Sequence]:
        """Give slots to waiting sequences in order: of equal urgency, short prompts never overtake a long one.

        Args:
            bulk_slots: that bulk may have; 0 if it takes no part in the step.
        """
        admitted: list[Sequence] = []
        budget = self._prefill_tokens
        while self.waiting and self.kv_cache.num_free:
            sequence = self._next_waiting(admitted, bulk_slots)
            if sequence is None or (admitted and len(sequence.prompt) > budget):
                break
            if sequence is self.waiting[0]:
                self.waiting.popleft()
            else:
                self.waiting.remove(sequence)
            self._count_pass(sequence)
            self.waiting_tokens -= sequence.cost_tokens
            budget -= len(sequence.prompt)
            self.kv_cache.allocate(sequence)
            admitted.append(sequence)
        return admitted

    def _next_waiting(self, admitted: list[Sequence], bulk_slots: int) -> Sequence | None:
        """The sequence that gets the next slot; None if it is bulk that has to wait.

        While others run, bulk has one prompt a step, since each makes the step longer. It is not passed for ever.

        Args:
            admitted: in this step so far.
            bulk_slots: as of :meth:`_admit_prefills`.
        """
        first = self.waiting[0]
        if not self.waiting[-1].is_bulk or (not first.is_bulk and self._passes < MAX_PASSES):
            return first
        in_slots = self.running + admitted
        bulk = sum(sequence.is_bulk for sequence in in_slots)
        if bulk >= bulk_slots or (bulk < len(in_slots) and any(sequence.is_bulk for sequence in admitted)):
            return None if first.is_bulk else first
        return next(sequence for sequence in self.waiting if sequence.is_bulk)

    def _count_pass(self, admitted: Sequence) -> None:
        """Note a sequence that was admitted: bulk, or another that passed bulk."""
        if admitted.is_bulk:
            self._passes = 0
        elif self.waiting and self.waiting[-1].is_bulk:
            self._passes += 1

    def _note_arrival(self, now: float) -> None:
        """Tell the pacer how long another sequence has waited that finds nothing but bulk running."""
        if self.running and all(sequence.is_bulk for sequence in self.running):
            self._pacer.others_came(now - self.waiting[0].arrived)

    def _observe_pace(self, step: Step, seconds: float) -> None:
        """Tell the pacer of a step in which others took part."""
        others = [not sequence.is_bulk for sequence in step.sequences]
        if any(others):
            reads_prompts = any(others[: len(step.prefills)])
            self._pacer.observe(seconds, joined=not all(others), reads_prompts=reads_prompts)
        else:
            self._pacer.bulk_ran_alone()

    def _remove_running(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            self.kv_cache.deallocate(sequence)
        self.running = [s for s in self.running if s.is_running]


def _has_expired(request: RequestState, now: float) -> bool:
    return request.deadline is not None and now >= request.deadline.at
