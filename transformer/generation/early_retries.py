"""Second attempts that start as soon as a first one is flagged, ahead of first attempts that are still to come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from transformer.errors import AdmissionRejected
from transformer.texts.work_item import WorkItem, WorkResult

FlaggedResults = Sequence[tuple[WorkItem, WorkResult]]
Retry = Callable[[FlaggedResults], Awaitable[None]]
"""Makes the second attempts at some items, and reports their results."""


class EarlyRetries:
    """The second attempts of one call; the end of the ``async with`` block waits for them.

    One that is not admitted while the first attempts hold their tokens is made again at the end of the block.
    """

    def __init__(self, retry: Retry, retry_late: Retry) -> None:
        """Start nothing yet.

        Args:
            retry: raises AdmissionRejected, and has reported nothing then.
            retry_late: as ``retry``, but reports what there is if it is not admitted.
        """
        self._retry = retry
        self._retry_late = retry_late
        self._tasks: list[asyncio.Task[None]] = []
        self._late: list[tuple[WorkItem, WorkResult]] = []

    def start(self, flagged: FlaggedResults) -> None:
        """Make second attempts at these items from now on."""
        if flagged:
            self._tasks.append(asyncio.create_task(self._run(flagged)))

    async def __aenter__(self) -> EarlyRetries:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None or isinstance(error, Exception):
                await asyncio.gather(*self._tasks)
                if self._late:
                    await self._retry_late(self._late)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, flagged: FlaggedResults) -> None:
        try:
            await self._retry(flagged)
        except AdmissionRejected:
            self._late += flagged
