"""The state of one request and its sequences inside the engine.

A sequence knows its tokens, its slot and why it ended. It decides nothing: admission, order and time are the
scheduler's.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Protocol

from predictor.repetition import RepetitionDetector
from protocol.deadline import Deadline
from protocol.errors import DeadlineExceeded, YiwenError
from protocol.messages import (
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    GenerationEnd,
    TokenDelta,
)
from protocol.priority import DEFAULT_URGENCY


class Subscriber(Protocol):
    """Receives a request's tokens as they are generated."""

    def publish(self, delta: TokenDelta) -> None:
        """Take one delta. Called by the engine's thread, so it must neither block nor raise."""


class GenerationFuture(Future[GenerateResponse]):
    """The response to a request, and the sequences that it comes from."""

    sequences: tuple[Sequence, ...] = ()


@dataclass(slots=True, eq=False)
class RequestState:
    """A :class:`GenerateRequest` inside the engine: its sequences end one by one, its future when all have."""

    request: GenerateRequest
    deadline: Deadline | None
    future: GenerationFuture
    """A caller aborts the request by cancelling it: its sequences lose their slots before the next step."""
    sequences: list[Sequence] = field(default_factory=list)
    subscriber: Subscriber | None = None
    """Receives each token before the future resolves; None for a response in one piece."""

    @classmethod
    def from_message(
        cls,
        message: GenerateRequest,
        *,
        deadline: Deadline | None,
        subscriber: Subscriber | None,
        stop_token_ids: frozenset[int],
        arrived: float,
    ) -> RequestState:
        """The state of a request that nothing was generated for.

        Args:
            message: the request.
            deadline: None for a request that may take any time.
            subscriber: None for a response in one piece.
            stop_token_ids: each of them ends a sequence.
            arrived: monotonic seconds.
        """
        state = cls(message, deadline, future=GenerationFuture(), subscriber=subscriber)
        max_repeats = message.max_repeats or (0,) * len(message.prompts)
        rows = zip(message.prompts, message.max_new_tokens, max_repeats, strict=True)
        state.sequences = [
            Sequence(
                prompt, max_new_tokens, state, stop_token_ids, arrived=arrived, index=index,
                repetition=RepetitionDetector(repeats) if repeats else None,
                is_bulk=message.urgency > DEFAULT_URGENCY,
            )
            for index, (prompt, max_new_tokens, repeats) in enumerate(rows)
        ]  # fmt: skip
        state.future.sequences = tuple(state.sequences)
        return state

    @property
    def cost_tokens(self) -> int:
        """Tokens that admission counts: the prompts and all that may be generated."""
        return sum(sequence.cost_tokens for sequence in self.sequences)

    @property
    def urgency(self) -> int:
        """As of :mod:`protocol.priority`; the smallest is served first."""
        return self.request.urgency

    @property
    def is_greedy(self) -> bool:
        """Whether every next token is the best candidate, so that a device knows it before the host does."""
        return self.request.params.temperature == 0

    @property
    def is_aborted(self) -> bool:
        """Whether no caller waits for the response: it was cancelled, or has failed."""
        return self.future.done()

    @property
    def is_finished(self) -> bool:
        """Whether every sequence has ended by itself or by the deadline."""
        return all(sequence.finish_reason is not None for sequence in self.sequences)

    def resolve(self, release: str) -> None:
        """Resolve the future of a finished request; with :class:`DeadlineExceeded` if no sequence was complete.

        Args:
            release: id of the release that generated.
        """
        generations = tuple(sequence.generation() for sequence in self.sequences)
        if all(generation.finish_reason is FinishReason.DEADLINE for generation in generations):
            self.fail(DeadlineExceeded("the deadline passed before any sequence was complete"))
            return
        try:
            self.future.set_result(GenerateResponse(generations, release))
        except InvalidStateError:
            pass  # cancelled in the same moment

    def fail(self, error: YiwenError) -> None:
        """Resolve the future with an error, unless it is resolved or cancelled."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            pass  # cancelled in the same moment


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt, its tokens so far, and its slot in the K/V cache."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    request: RequestState
    stop_token_ids: frozenset[int]
    arrived: float
    """Monotonic seconds."""
    index: int = 0
    """Of the prompt in its request."""
    repetition: RepetitionDetector | None = None
    """Ends it when its tokens repeat themselves too often; None never does."""
    is_bulk: bool = False
    """Whether it may wait for others, being less urgent than the default."""
    slot: int | None = None
    """Set while it runs."""
    output_ids: list[int] = field(default_factory=list)
    """Generated tokens without the stop token."""
    logprob_sum: float = 0.0
    num_generated: int = 0
    """Generated tokens, the stop token included."""
    tokens_in_flight: int = 0
    """Tokens that the steps in flight generate, which the host does not know yet."""
    source_row: int = -1
    """Row of the step launched last that generates the newest token in flight, or -1 if there is none."""
    finish_reason: FinishReason | None = None
    started: float = 0.0
    """When its first step was scheduled, monotonic seconds; 0 before."""
    first_token_at: float = 0.0
    """When its first token was known, monotonic seconds; 0 before."""

    @property
    def cost_tokens(self) -> int:
        """Most tokens this sequence can ever hold."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens whose K/V the slot holds once the steps in flight are done: all but the newest one."""
        return len(self.prompt) + self.num_generated + self.tokens_in_flight - 1

    @property
    def is_running(self) -> bool:
        """Whether it owns a slot; a sequence that lost its slot never gets another."""
        return self.slot is not None

    @property
    def has_budget(self) -> bool:
        """Whether ``max_new_tokens`` allows another token behind those in flight, unless one of them ends it."""
        return self.num_generated + self.tokens_in_flight < self.max_new_tokens

    def launch(self, row: int) -> None:
        """Count one more token in flight, which row ``row`` of the step launched now generates."""
        self.tokens_in_flight += 1
        self.source_row = row

    def append(self, token_id: int, logprob: float) -> None:
        """Append the oldest token in flight; sets ``finish_reason`` if it was the last."""
        self.tokens_in_flight -= 1
        if not self.tokens_in_flight:
            self.source_row = -1
        self.logprob_sum += logprob
        self.num_generated += 1
        if token_id in self.stop_token_ids:
            self.finish_reason = FinishReason.STOP
            return
        self.output_ids.append(token_id)
        if self.repetition is not None and self.repetition.observe(self.output_ids):
            self.finish_reason = FinishReason.REPETITION
        elif self.num_generated >= self.max_new_tokens:
            self.finish_reason = FinishReason.LENGTH

    def generation(self) -> Generation:
        """The result of a finished sequence."""
        if self.finish_reason is None:
            raise AssertionError("a sequence was read before it had finished")
        return Generation(tuple(self.output_ids), self._mean_logprob, self.finish_reason)

    def delta(self, token_id: int, logprob: float, release: str) -> TokenDelta:
        """The delta to publish for the token that was appended last.

        Args:
            token_id: the token.
            logprob: its log-probability.
            release: id of the release that generated.
        """
        stopped = self.finish_reason is FinishReason.STOP
        return TokenDelta(
            index=self.index,
            token_ids=() if stopped else (token_id,),
            logprobs=() if stopped else (logprob,),
            end=GenerationEnd(self._mean_logprob, self.finish_reason, release)
            if self.finish_reason
            else None,
        )

    @property
    def _mean_logprob(self) -> float:
        return self.logprob_sum / self.num_generated if self.num_generated else 0.0
