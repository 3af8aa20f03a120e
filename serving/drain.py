"""Graceful shutdown: counts running requests of REST and gRPC, and refuses new ones while draining.

While the server drains, readiness is false, new requests get 503, and running ones finish. Signals and sockets are
handled by :mod:`serving.server`.
"""

from __future__ import annotations

import asyncio

from protocol.error_codes import ErrorCode
from protocol.errors import NotReady

RETRY_AFTER_S = 1.0
"""Retry-After of refused requests: another replica can serve a retry at once."""

_CANCEL_S = 1.0
"""Seconds that cancelled requests get to send their 503."""


class DrainGate:
    """The set of running requests, by their task, and whether new ones are admitted."""

    def __init__(self) -> None:
        self.draining = False
        self.cancelled_requests = False
        """True once :meth:`drain` has cancelled requests that took too long."""
        self._running: set[asyncio.Task[object]] = set()
        self._empty = asyncio.Event()

    def check_open(self) -> None:
        """Raise NotReady while draining."""
        if self.draining:
            raise NotReady(
                "the server is shutting down; try again",
                code=ErrorCode.SHUTTING_DOWN,
                retry_after_s=RETRY_AFTER_S,
            )

    def enter(self, task: asyncio.Task[object]) -> None:
        """Count the request that ``task`` handles as running."""
        self._running.add(task)

    def leave(self, task: asyncio.Task[object]) -> None:
        """Count the request that ``task`` handled as finished."""
        self._running.discard(task)
        if not self._running:
            self._empty.set()

    async def drain(self, seconds: float) -> bool:
        """Refuse new requests and wait for the running ones; cancel those that take longer than ``seconds``.

        Returns:
            Whether all requests finished without being cancelled.
        """
        self.draining = True
        if await self._wait(seconds):
            return True
        self.cancelled_requests = True
        for task in self._running:
            task.cancel()
        # Cancelled requests answer 503; one that ignores its cancellation must not block the shutdown.
        await self._wait(_CANCEL_S)
        return False

    async def _wait(self, seconds: float) -> bool:
        if not self._running:
            return True
        self._empty.clear()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except asyncio.TimeoutError:
            return not self._running
        return True
