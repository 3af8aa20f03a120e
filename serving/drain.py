"""Who is inside, and whether anybody else may come in: the gate that both surfaces pass.

While it drains, readiness is false, newcomers are turned away, and those inside finish. Signals and sockets are
:mod:`serving.server`'s.
"""

from __future__ import annotations

import asyncio

from protocol.errors import NotReady

RETRY_AFTER_S = 1.0
"""What a caller that is turned away is told to wait: another replica can take it at once."""


_CUT_S = 1.0
"""Seconds that cancelled requests get to say so."""


class Gate:
    """Counts running requests by their task."""

    def __init__(self) -> None:
        self.draining = False
        self.cut = False
        """True once running requests were cancelled because their time to finish was up."""
        self._running: set[asyncio.Task[object]] = set()
        self._empty = asyncio.Event()

    def check(self) -> None:
        """Raise NotReady while draining."""
        if self.draining:
            raise NotReady("the server is shutting down; try again", retry_after_s=RETRY_AFTER_S)

    def enter(self, task: asyncio.Task[object]) -> None:
        """``task`` works on a request from now on."""
        self._running.add(task)

    def leave(self, task: asyncio.Task[object]) -> None:
        """``task`` is done with its request."""
        self._running.discard(task)
        if not self._running:
            self._empty.set()

    async def drain(self, seconds: float) -> bool:
        """Let nobody in, and wait until all are out; cancel those that take longer than ``seconds``.

        Returns:
            Whether all finished by themselves.
        """
        self.draining = True
        if await self._wait(seconds):
            return True
        self.cut = True
        for task in self._running:
            task.cancel()
        # Tasks answer 503 on their way out; one that ignores its cancellation must not hold the process.
        await self._wait(_CUT_S)
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
