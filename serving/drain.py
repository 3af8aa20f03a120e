"""Graceful shutdown: counts running requests of REST and gRPC, and refuses new ones while draining.

While the server drains, readiness is false, new requests get 503, and running ones finish. Signals and sockets are
handled by :mod:`serving.server`.
"""

from __future__ import annotations

import asyncio
import time

from protocol.error_codes import ErrorCode
from protocol.errors import NotReady

RETRY_AFTER_S = 1.0
"""Retry-After of refused requests: another replica can serve a retry at once."""

_BODY_S = 2.0
"""Seconds that a drain waits for bodies that have not arrived."""

_CANCEL_S = 1.0
"""Seconds that cancelled requests get to send their 503."""


class DrainGate:
    """The set of running requests, by their task, and whether new ones are admitted."""

    def __init__(self) -> None:
        self.draining = False
        self._running: set[asyncio.Task[object]] = set()
        self._incomplete: set[asyncio.Task[object]] = set()
        """Those of the running requests whose body has not arrived."""
        self._cancelled: set[asyncio.Task[object]] = set()
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

    def expect_body(self, task: asyncio.Task[object]) -> None:
        """The body of ``task``'s request has not arrived: a drain waits :data:`_BODY_S` for it."""
        self._incomplete.add(task)

    def body_complete(self, task: asyncio.Task[object]) -> None:
        """The body of ``task``'s request has arrived."""
        self._incomplete.discard(task)

    def has_cancelled(self, task: asyncio.Task[object] | None) -> bool:
        """Whether :meth:`drain` has cancelled ``task``, whose request took too long."""
        return task in self._cancelled

    def leave(self, task: asyncio.Task[object]) -> None:
        """Count the request that ``task`` handled as finished."""
        self._running.discard(task)
        self._incomplete.discard(task)
        self._cancelled.discard(task)
        if not self._running:
            self._empty.set()

    async def drain(self, seconds: float) -> bool:
        """Refuse new requests and wait for the running ones; cancel those that take longer than ``seconds``.

        Requests whose body has not arrived after :data:`_BODY_S` are cancelled then.

        Returns:
            Whether all requests that had arrived finished without being cancelled.
        """
        self.draining = True
        end = time.monotonic() + seconds
        if self._incomplete:
            if await self._wait(min(_BODY_S, seconds)):
                return True
            self._cancel(self._incomplete)
        if await self._wait(end - time.monotonic()):
            return True
        self._cancel(self._running)
        # Cancelled requests answer 503; one that ignores its cancellation must not block the shutdown.
        await self._wait(_CANCEL_S)
        return False

    def _cancel(self, tasks: set[asyncio.Task[object]]) -> None:
        self._cancelled |= tasks
        for task in tasks:
            task.cancel()

    async def _wait(self, seconds: float) -> bool:
        if not self._running:
            return True
        self._empty.clear()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except asyncio.TimeoutError:
            return not self._running
        return True
