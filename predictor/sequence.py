"""One prompt on its way to an answer: the hot state of the engine.

A sequence knows its tokens, its slot and why it ended. It decides nothing: admission, order and time are the
scheduler's. Who wants tokens before the answer is whole gives its request a :class:`Subscriber`.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from predictor.repetition import RepetitionDetector
from protocol.messages import (
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    GenerationEnd,
    TokenDelta,
)


class Subscriber(Protocol):
    """Who reads tokens as they are generated."""

    def publish(self, delta: TokenDelta) -> None:
        """Take in one delta. Runs in the engine's thread, so it neither blocks nor raises."""


@dataclass(slots=True, eq=False)
class RequestState:
    """A :class:`GenerateRequest` inside the engine: its sequences end one by one, its future when all have."""

    request: GenerateRequest
    deadline: float | None
    """Monotonic seconds, or None."""
    future: Future[GenerateResponse]
    """Cancelling it is how a caller leaves: its sequences lose their slots before the next step."""
    sequences: list[Sequence] = field(default_factory=list)
    subscriber: Subscriber | None = None
    """Is told each token before the future resolves; None for an answer in one piece."""

    @property
    def cost_tokens(self) -> int:
        """Tokens that admission counts: the prompts and all that may be generated."""
        return sum(sequence.cost_tokens for sequence in self.sequences)

    @property
    def is_greedy(self) -> bool:
        """Whether every next token is the best candidate, so that a device knows it before the host does."""
        return self.request.params.temperature == 0

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done()


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt, its tokens so far, and the slot they live in."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    request: RequestState
    stop_token_ids: frozenset[int]
    arrived: float
    """Monotonic seconds."""
    index: int = 0
    """Place in the request."""
    repetition: RepetitionDetector | None = None
    """Ends it when its tokens repeat themselves too often; None lets them."""
    slot: int | None = None
    """Set while it runs."""
    output_ids: list[int] = field(default_factory=list)
    """Generated tokens without the stop token."""
    logprob_sum: float = 0.0
    num_generated: int = 0
    """Generated tokens, the stop token included."""
    unread: int = 0
    """Tokens that the steps in flight generate, which nobody has read yet."""
    source: int = -1
    """Row of the step launched last that generates the newest of them, or -1 when there is none."""
    finish_reason: FinishReason | None = None

    @property
    def cost_tokens(self) -> int:
        """Most tokens this sequence can ever hold."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens whose K/V the slot holds once the steps in flight are done: all but the newest one."""
        return len(self.prompt) + self.num_generated + self.unread - 1

    @property
    def is_running(self) -> bool:
        """Whether it owns a slot; a sequence that lost its slot never gets another."""
        return self.slot is not None

    @property
    def wants_more(self) -> bool:
        """Whether the steps in flight leave room for another token; only reading them shows a stop token."""
        return self.num_generated + self.unread < self.max_new_tokens

    def launch(self, row: int) -> None:
        """Count one more token, which row ``row`` of the step launched now generates."""
        self.unread += 1
        self.source = row

    def append(self, token_id: int, logprob: float) -> None:
        """Take in the oldest unread token; sets ``finish_reason`` if it was the last."""
        self.unread -= 1
        if not self.unread:
            self.source = -1
        self.logprob_sum += logprob
        self.num_generated += 1
        if token_id in self.stop_token_ids:
            self.finish_reason = FinishReason.STOP
            return
        self.output_ids.append(token_id)
        if self.repetition is not None and self.repetition.take(self.output_ids):
            self.finish_reason = FinishReason.REPETITION
        elif self.num_generated >= self.max_new_tokens:
            self.finish_reason = FinishReason.LENGTH

    def generation(self) -> Generation:
        """The answer of a finished sequence."""
        if self.finish_reason is None:
            raise AssertionError("a sequence was read before it had finished")
        return Generation(tuple(self.output_ids), self._mean_logprob, self.finish_reason)

    def delta(self, token_id: int, logprob: float, release: str) -> TokenDelta:
        """What a subscriber is told of the token that was appended last."""
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
