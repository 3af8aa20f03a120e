"""Admission control: bounds the tokens of requests in progress, and rejects the excess with a Retry-After.

Only cache misses are counted (:mod:`transformer.generation.generator`), all of one request at once: hits are always
served, and what was admitted is not refused half-way. A second attempt that a guard asks for is admitted like a first
one; if rejected, the caller gets the first answer with its flags.

The unit is the predictor's own, prompt plus longest answer allowed. Its queue is the first to refuse in an ordinary
overload (``YIWEN_QUEUE_TOKENS``); this budget bounds what one transformer holds while the predictor is slow,
starting, or behind a proxy that lets thousands wait.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from protocol.messages import GenerateRequest
from transformer.errors import AdmissionRejected
from transformer.metrics import TransformerMetrics
from transformer.predictors.http_responses import RETRY_AFTER_S

RATE_TIME_CONSTANT_S = 10.0
"""Time constant of the measured rate, seconds: longer than a few answers and shorter than a scale-up."""

KEPT_SHARE = 0.25
"""Part of the budget that is kept for callers with little in progress, where callers have keys."""
LITTLE_SHARE = 1 / 32
"""Part of the budget that is little for one caller."""

MAX_RETRY_AFTER_S = 60.0
"""Longest Retry-After, seconds: by then replicas have been added, or the measurement is out of date."""


@dataclass(frozen=True, slots=True)
class DrainRate:
    """Tokens per second that the predictor completes while it has work; updates return a new state.

    Both sums decay with the time constant ``RATE_TIME_CONSTANT_S``; their quotient is the rate. Time without work is
    not counted, so a quiet hour does not look like a slow one.
    """

    tokens: float = 0.0
    busy_s: float = 0.0
    at: float | None = None
    """Time of the last event, seconds."""

    def updated(self, now: float, *, busy: bool, done: int = 0) -> DrainRate:
        """The state at ``now``.

        Args:
            now: any monotonic clock, seconds.
            busy: whether there was work since the event before.
            done: tokens of an answer that is complete now.
        """
        passed_s = 0.0 if self.at is None else max(0.0, now - self.at)
        kept = math.exp(-passed_s / RATE_TIME_CONSTANT_S)
        # The integral of the fading weight over the time that passed.
        gained_s = RATE_TIME_CONSTANT_S * (1.0 - kept) if busy else 0.0
        return DrainRate(self.tokens * kept + done, self.busy_s * kept + gained_s, now)

    @property
    def per_s(self) -> float:
        """Tokens a second; 0 while unknown."""
        return self.tokens / self.busy_s if self.busy_s > 0 else 0.0


def retry_after_s(excess_tokens: float, tokens_per_s: float) -> float:
    """Seconds until ``excess_tokens`` have drained, in [``RETRY_AFTER_S``, ``MAX_RETRY_AFTER_S``].

    Args:
        excess_tokens: tokens beyond the budget.
        tokens_per_s: measured rate; 0 if unknown, which gives the shortest.
    """
    if tokens_per_s <= 0:
        return RETRY_AFTER_S
    return max(RETRY_AFTER_S, min(MAX_RETRY_AFTER_S, excess_tokens / tokens_per_s))


def request_tokens(request: GenerateRequest) -> int:
    """Upper bound of a request's tokens: its prompts and the longest answers allowed."""
    return sum(map(len, request.prompts)) + sum(request.max_new_tokens)


class AdmissionController:
    """Admits requests of one process up to a budget of tokens in progress.

    Where callers have keys, a part of the budget is kept for those that have little in progress: one caller's flood
    is refused before it takes all of it.
    """

    def __init__(
        self, budget_tokens: int, metrics: TransformerMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tokens = 0
        """Tokens in progress: waiting for a connection, a cold start, or the predictor's answer."""
        self._budget = budget_tokens
        self._clock = clock
        self._rate = DrainRate()
        self._held: Counter[str] = Counter()
        """Tokens in progress of each caller with a key."""
        results = metrics.predictor.admissions
        self._admitted, self._refused = results.labels("admitted"), results.labels("refused")
        metrics.predictor.watch_admission(tokens=lambda: self.tokens, drain_per_s=lambda: self._rate.per_s)

    @contextmanager
    def admit(self, tokens: int, caller: str = "") -> Iterator[Callable[[int], None]]:
        """Count ``tokens`` as in progress while the block runs. Without an exception they count as completed.

        A single request is always admitted, however large.

        Args:
            tokens: of the request.
            caller: id of the caller's key; empty where keys are not used.

        Returns:
            A function that counts some of them as completed before the block ends.

        Raises:
            AdmissionRejected: the budget does not allow it now.
        """
        budget = self._budget_of(caller, tokens)
        excess = self.tokens + tokens - budget
        if excess > 0 and self.tokens:
            self._refused.inc()
            raise AdmissionRejected(self.tokens, budget, tokens, retry_after_s=self._wait_s(excess))
        self._admitted.inc()
        self._note()
        self.tokens += tokens
        self._held[caller] += tokens
        rest = tokens

        def complete(part: int) -> None:
            nonlocal rest
            rest -= part
            self._leave(part, caller, done=part)

        try:
            yield complete
        except BaseException:
            self._leave(rest, caller, done=0)
            raise
        complete(rest)

    def retry_after_s(self) -> float:
        """Estimated seconds until all work in progress is completed."""
        return self._wait_s(self.tokens)

    def _wait_s(self, excess: int) -> float:
        self._note()
        return retry_after_s(excess, self._rate.per_s)

    def _budget_of(self, caller: str, tokens: int) -> int:
        """The budget for a request of ``tokens``: all of it, or what is not kept for other callers."""
        if not caller or self._held[caller] + tokens <= LITTLE_SHARE * self._budget:
            return self._budget
        return self._budget - round(KEPT_SHARE * self._budget)

    def _leave(self, tokens: int, caller: str, *, done: int) -> None:
        self._note(done)
        self.tokens -= tokens
        self._held[caller] -= tokens
        if not self._held[caller]:
            del self._held[caller]

    def _note(self, done: int = 0) -> None:
        self._rate = self._rate.updated(self._clock(), busy=self.tokens > 0, done=done)
