"""The readiness gate: requests wait while the predictor is not ready; one probe; released at a growing rate.

A predictor that takes no connection or answers 503 is starting, restarting, or scaled to zero; where all predictors
are of another release, one of this release may be starting. Requests that need it wait here, up to a maximum number
and time, and :mod:`transformer.predictors.router` sends them once it is ready.
Knative's activator buffers requests itself: behind it the gate stays open, and only the first answer is slow.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

from protocol.error_codes import ErrorCode
from protocol.errors import NotReady
from transformer.errors import ColdStartQueueFull, ColdStartTimeout
from transformer.metrics import TransformerMetrics
from transformer.predictors.http_responses import RETRY_AFTER_S

STATUS_INTERVAL_S = 1.0
"""Seconds between two :class:`ColdStartStatus` items."""

INITIAL_POLL_S = 0.1
MAX_POLL_S = 0.5
"""Seconds between readiness probes: doubles from the first value up to the second."""

IDLE_POLL_S = 30.0
"""Seconds for which probing goes on without waiters, so that returning callers find a known state."""

INITIAL_RELEASE = 4
RELEASE_DOUBLING_S = 0.1
"""Requests released at once, and the seconds in which the released total doubles: 1000 are released within 0.8 s,
and a predictor that fails again receives few."""

RELEASE_STEP_S = 0.02

DEFAULT_START_S = 5.0
"""Retry-After in seconds while no start is known, or when this start takes longer than all known ones."""

START_HISTORY = 8


@dataclass(frozen=True, slots=True)
class ColdStartStatus:
    """The status of a request that waits for the predictor; sent about once a second."""

    waited_s: float
    """Since the request began to wait."""
    retry_after_s: float
    """Estimated seconds until the predictor is up."""


def release_quota(passed_s: float) -> int:
    """Number of waiters that may have been released ``passed_s`` seconds after the predictor became ready."""
    doublings = min(passed_s / RELEASE_DOUBLING_S, 30.0)  # more than any number of waiters
    return int(INITIAL_RELEASE * 2.0**doublings)


def estimated_start_s(past_s: Sequence[float], passed_s: float) -> float:
    """Estimated seconds until the predictor is ready: median of the past starts longer than ``passed_s``, less that.

    Args:
        past_s: how long starts took, seconds.
        passed_s: how long this one has taken.

    Returns:
        At least 1.
    """
    longer = [took for took in past_s if took > passed_s]
    return max(1.0, median(longer) - passed_s) if longer else DEFAULT_START_S


def poll_intervals_s() -> Iterator[float]:
    """Seconds between readiness probes, without end."""
    pause_s = INITIAL_POLL_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, MAX_POLL_S)


class ReadinessGate:
    """Holds requests while one predictor is not ready. Belongs to one event loop."""

    def __init__(
        self,
        max_waiters: int,
        is_up: Callable[[], Awaitable[bool]],
        metrics: TransformerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the gate; nothing is probed yet.

        Args:
            max_waiters: more are refused.
            is_up: the readiness probe; never raises.
            metrics: of this process.
            clock: monotonic, seconds.
        """
        self.failed_polls = 0
        """Number of probes that found the predictor not ready."""
        self._max_waiters = max_waiters
        self._is_up = is_up
        self._metrics = metrics.predictor
        self._clock = clock
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._asking: asyncio.Task[None] | None = None
        self._down_since: float | None = None
        self._closed = False
        self._starts_s: deque[float] = deque(maxlen=START_HISTORY)
        self._metrics.watch_cold_starts(lambda: len(self._waiters))

    @property
    def is_blocking(self) -> bool:
        """Whether new requests must wait: the predictor is not ready, or earlier waiters are still being released."""
        return self._asking is not None

    def mark_unavailable(self) -> None:
        """Close the gate, since the predictor did not accept a request, and start probing.

        Raises:
            NotReady: this process is stopping.
        """
        if self._closed:
            raise _stopping()
        if self._down_since is None:
            self._down_since = self._clock()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def wait(self, since: float, until: float) -> AsyncGenerator[ColdStartStatus, None]:
        """Wait for the release of this request; yields a status about once a second.

        Args:
            since: when the request began to wait, on this gate's clock, seconds.
            until: when the wait times out, on the same clock.

        Raises:
            ColdStartQueueFull: ``max_waiters`` requests already wait.
            ColdStartTimeout: ``until`` has passed.
            NotReady: this process is stopping.
        """
        if len(self._waiters) >= self._max_waiters:
            self._metrics.waits.labels("full").inc()
            raise ColdStartQueueFull(self._max_waiters, retry_after_s=self.retry_after_s())
        turn = asyncio.get_running_loop().create_future()
        self._waiters[turn] = None
        started = self._clock()
        try:
            while not turn.done():
                now = self._clock()
                if now >= until:
                    self._metrics.waits.labels("given_up").inc()
                    raise ColdStartTimeout(now - since, retry_after_s=self.retry_after_s())
                yield ColdStartStatus(now - since, self.retry_after_s())
                await asyncio.wait({turn}, timeout=min(STATUS_INTERVAL_S, until - now))
            turn.result()
            self._metrics.waits.labels("released").inc()
        finally:
            self._waiters.pop(turn, None)
            self._metrics.wait_seconds.observe(self._clock() - started)

    def retry_after_s(self) -> float:
        """Estimated seconds until the predictor is up."""
        passed_s = 0.0 if self._down_since is None else self._clock() - self._down_since
        return estimated_start_s(self._starts_s, passed_s)

    async def close(self) -> None:
        """Stop probing; waiters get a retryable error."""
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for turn in self._waiters:
            turn.set_exception(_stopping())
        self._waiters.clear()

    async def _ask(self) -> None:
        try:
            while self._down_since is not None:
                if not await self._comes_up():
                    return
                took_s = self._clock() - self._down_since
                self._starts_s.append(took_s)
                self._metrics.start_seconds.observe(took_s)
                self._down_since = None
                await self._release()
        finally:
            self._asking = self._down_since = None

    async def _comes_up(self) -> bool:
        """Probe until ready; False if there was no waiter for ``IDLE_POLL_S`` seconds."""
        wanted_at = self._clock()
        for pause_s in poll_intervals_s():
            await asyncio.sleep(pause_s)
            if await self._is_up():
                return True
            self.failed_polls += 1
            if self._waiters:
                wanted_at = self._clock()
            elif self._clock() - wanted_at > IDLE_POLL_S:
                break
        return False

    async def _release(self) -> None:
        """Release waiters, oldest first, until none is left or the predictor is unavailable again."""
        began, released = self._clock(), 0
        while self._down_since is None:
            due = release_quota(self._clock() - began) - released
            for turn in list(islice(self._waiters, due)):
                del self._waiters[turn]
                turn.set_result(None)
                released += 1
            if not self._waiters:
                return  # at once, so that later requests do not wait
            await asyncio.sleep(RELEASE_STEP_S)


def _stopping() -> NotReady:
    return NotReady(
        "the transformer is stopping; retry", code=ErrorCode.SHUTTING_DOWN, retry_after_s=RETRY_AFTER_S
    )
