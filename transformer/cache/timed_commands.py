"""Runs commands, a bounded number at once, each under a time limit that counts only while the event loop runs.

Where the loop stalls (one large request, garbage collection, a busy core), an answer waits in the socket and is read
late. By the wall clock that looks like a server that does not answer. The clock here advances once per tick of the
loop, by two ticks at most, so a command gets the number of loop iterations that its time limit stands for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from serving.task_timeout import OwnCancellation

T = TypeVar("T")

TICK_S = 0.005
"""Seconds between two ticks: the resolution of a time limit."""


@dataclass(eq=False, slots=True)
class TimeLimit:
    """The time limit of one command."""

    seconds: float
    started_at: float
    """When it was sent, or when it was queued if it was not sent yet."""
    queued: bool = True
    connected: bool = True
    """False if a connection had to be opened for it, which is no measure of the server's speed."""

    def extend_to_connect(self, seconds: float) -> None:
        """Allow the time that it takes to open a connection."""
        self.seconds += seconds
        self.connected = False


_current: ContextVar[TimeLimit | None] = ContextVar("time_limit", default=None)


def current_limit() -> TimeLimit | None:
    """The time limit of the command that the running task sends; None outside of :meth:`TimedCommands.run`."""
    return _current.get()


class TimedCommands:
    """The commands of one event loop. Its clock ticks while there are any."""

    def __init__(self, most_at_once: int, answered: Callable[[float], None]) -> None:
        """Run nothing yet.

        Args:
            most_at_once: commands; more are queued.
            answered: called with the seconds that each answer took; 0 where a connection was opened first, which
                says little about the next answers.
        """
        self._slots = asyncio.Semaphore(most_at_once)
        self._answered = answered
        self._answered_at = float("-inf")
        """When the last command ended well."""
        self._now = 0.0
        self._ticked_at = 0.0
        self._running: dict[TimeLimit, OwnCancellation] = {}
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds in which the loop ran while commands were under way; only differences mean anything."""
        return self._now + (self._since_tick() if self._timer is not None else 0.0)

    async def run(self, command: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """The result of ``command``, which is cancelled ``timeout_s`` seconds of this clock after it was sent.

        A queued command waits as long as others are answered, and gives up ``timeout_s`` after the last answer.

        Raises:
            asyncio.TimeoutError: it was cancelled, or gave up.
        """
        if self._timer is None:
            self._ticked_at = asyncio.get_running_loop().time()
            self._schedule()
        limit = TimeLimit(timeout_s, self.now())
        self._running[limit] = cancellation = OwnCancellation()
        _current.set(limit)
        try:
            async with self._slots:
                limit.queued, limit.started_at = False, self.now()
                result = await command()
        except asyncio.CancelledError:
            if cancellation.absorb():
                raise asyncio.TimeoutError from None
            raise
        finally:
            _current.set(None)
            del self._running[limit]
            self._stop_if_idle()
        self._answered_at = self.now()
        self._answered(self._answered_at - limit.started_at if limit.connected else 0.0)
        return result

    def _since_tick(self) -> float:
        return min(asyncio.get_running_loop().time() - self._ticked_at, 2 * TICK_S)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _stop_if_idle(self) -> None:
        """Stop the clock: a tick without commands would only wake the loop."""
        if self._timer is not None and not self._running:
            self._now += self._since_tick()
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._now += self._since_tick()
        self._ticked_at = asyncio.get_running_loop().time()
        for limit, cancellation in self._running.items():
            since = max(limit.started_at, self._answered_at) if limit.queued else limit.started_at
            if since + limit.seconds <= self._now and not cancellation.is_requested:
                cancellation.request()
        self._schedule()
