"""How many requests to the predictor may be sent twice: a tenth of them, and a few. Pure, but for its holder.

Retries help while failures are rare and bury a predictor that fails because it has too much to do. So each request
earns a tenth of a retry, and each retry has to be paid for (the budget that Finagle's clients have:
https://finagle.github.io/blog/2016/02/08/retry-budgets/).

Not paid for, since it is no second attempt at work that a predictor took on: asking whether it is up
(:mod:`transformer.predictors.readiness`), and sending to another predictor what one refused for its release
(:mod:`transformer.predictors.release_search`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from transformer.metrics import TransformerMetrics

RETRY_RATIO = 0.1
"""SharedRetryBudget that each request earns."""

BURST = 10.0
"""Most retries that can be saved up: a few requests find their idle connections closed when a predictor restarts."""

MIN_RETRIES_PER_S = 0.1
"""SharedRetryBudget a second that are there without requests, for a service that has few."""


class RetryKind(str, Enum):
    """What is sent twice."""

    RECONNECT = "reconnect"
    """To the same address at once: no connection came about, or one that had been idle broke."""
    REROUTE = "reroute"
    """To the predictor's own address, after one that had been remembered answered 503 or 404."""
    COLD_START = "cold_start"
    """After a wait for a predictor that had answered 503 and yet, when asked, said that it is ready."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """A budget at one moment; events return the next one.

    In every stretch of time, however long, at most ``BURST + MIN_RETRIES_PER_S * seconds + RETRY_RATIO * requests``
    retries are allowed.
    """

    saved: float = BURST
    """SharedRetryBudget that may be made now."""
    at: float | None = None
    """Time of the last event, seconds."""

    def sent(self, now: float) -> RetryBudget:
        """A request went out for the first time, at ``now`` on any monotonic clock (seconds)."""
        return RetryBudget(min(BURST, self._saved_at(now) + RETRY_RATIO), now)

    def retried(self, now: float) -> RetryBudget | None:
        """One retry is made at ``now``; None if it may not be."""
        saved = self._saved_at(now)
        return None if saved < 1.0 else replace(self, saved=saved - 1.0, at=now)

    def _saved_at(self, now: float) -> float:
        passed_s = 0.0 if self.at is None else max(0.0, now - self.at)
        return min(BURST, self.saved + MIN_RETRIES_PER_S * passed_s)


class SharedRetryBudget:
    """The budget of one process, shared by all that send to the predictor."""

    def __init__(self, metrics: TransformerMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics.predictor
        self._clock = clock
        self._budget = RetryBudget()

    def sent(self) -> None:
        """Note a request that goes out for the first time."""
        self._budget = self._budget.sent(self._clock())

    def allow(self, kind: RetryKind) -> bool:
        """Whether to send once more; if so it is paid for."""
        after = self._budget.retried(self._clock())
        self._metrics.retries.labels(kind.value, "refused" if after is None else "made").inc()
        if after is None:
            return False
        self._budget = after
        return True
