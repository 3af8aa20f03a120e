"""The retry budget: at most a tenth of the requests to the predictor, and a few more, are sent again.

Retries help while failures are rare and make an overload worse. So each request earns a tenth of a retry, and each
retry spends one (the budget that Finagle's clients have:
https://finagle.github.io/blog/2016/02/08/retry-budgets/).

Not counted, since no predictor had begun the work: readiness probes
(:mod:`transformer.predictors.readiness`), and rerouting a request that was refused for its release
(:mod:`transformer.predictors.release_search`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from transformer.metrics import TransformerMetrics

RETRY_RATIO = 0.1
"""Retries that each request earns."""

BURST = 10.0
"""Largest balance: some requests find their idle connections closed when a predictor restarts."""

MIN_RETRIES_PER_S = 2.0
"""Retries a second that are there without requests: thirty that a killed predictor leaves need ten seconds."""


POLL_S = 0.05
"""Seconds between two looks at the balance by a request that waits for a retry."""


class RetryKind(str, Enum):
    """Reasons for a retry; the values are metric labels."""

    RECONNECT = "reconnect"
    """Same address, at once: no connection was made, or an idle one broke."""
    REROUTE = "reroute"
    """Main address, after the cached address answered 503 or 404."""
    COLD_START = "cold_start"
    """After a wait, for a predictor that answered 503 although its readiness probe succeeds."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Immutable state of the budget; updates return a new one.

    In every stretch of time, however long, at most ``BURST + MIN_RETRIES_PER_S * seconds + RETRY_RATIO * requests``
    retries are allowed.
    """

    saved: float = BURST
    """Retries that may be made now."""
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
    """The retry budget of one process."""

    def __init__(self, metrics: TransformerMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics.predictor
        self._clock = clock
        self._budget = RetryBudget()

    def sent(self) -> None:
        """Note a request that goes out for the first time."""
        self._budget = self._budget.sent(self._clock())

    def allow(self, kind: RetryKind) -> bool:
        """Whether to send once more; if so it is paid for."""
        made = self._spend()
        self._metrics.retries.labels(kind.value, "made" if made else "refused").inc()
        return made

    async def wait(self, kind: RetryKind, until: float) -> bool:
        """Wait until one more retry may be made, and pay for it.

        For requests that a predictor took with it when it went down: there are as many at once as it had under way,
        each is sent again a few times at most, and the budget alone would fail those beyond the balance.

        Args:
            kind: the reason for the retry.
            until: when the wait ends, on this budget's clock, seconds.

        Returns:
            Whether it may be made; False once ``until`` has passed.
        """
        while not (made := self._spend()) and (remaining_s := until - self._clock()) > 0.0:
            await asyncio.sleep(min(POLL_S, remaining_s))
        self._metrics.retries.labels(kind.value, "made" if made else "refused").inc()
        return made

    def _spend(self) -> bool:
        after = self._budget.retried(self._clock())
        self._budget = after or self._budget
        return after is not None
