"""Cancelling the task that runs a block: after a time, or when something else says so.

``asyncio.timeout`` does the first, but Python 3.10 lacks it. ``asyncio.wait_for`` runs its work in another task, and
a task costs more than most of this work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType


class OwnCancellation:
    """Cancels the task in which it was made, and tells this cancellation from those of others."""

    __slots__ = ("_before", "_task", "is_requested")

    def __init__(self) -> None:
        self.is_requested = False
        self._task = asyncio.current_task()
        self._before = _cancellations(self._task)

    def request(self) -> None:
        """Cancel the task where it waits."""
        self.is_requested = True
        if self._task is not None:
            self._task.cancel()

    def absorb(self) -> bool:
        """Whether the task, which has just raised CancelledError, was cancelled by :meth:`request` alone.

        If so the cancellation is withdrawn, and the task may go on. Before Python 3.11 nobody can tell whether
        somebody else cancelled it at the same moment.
        """
        if not self.is_requested:
            return False
        uncancel = getattr(self._task, "uncancel", None)
        return uncancel is None or uncancel() <= self._before


class TaskTimeout:
    """Context manager that raises an error in its block at a moment; may be entered repeatedly."""

    __slots__ = ("_at", "_cancellation", "_loop", "_make_error", "_timer")

    def __init__(self, timeout_s: float, make_error: Callable[[], Exception]) -> None:
        """Set the moment.

        Args:
            timeout_s: seconds from now.
            make_error: makes what is raised then.
        """
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + timeout_s
        self._make_error = make_error

    def __enter__(self) -> None:
        self._cancellation = OwnCancellation()
        self._timer = self._loop.call_at(self._at, self._cancellation.request)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if isinstance(error, asyncio.CancelledError) and self._cancellation.absorb():
            raise self._make_error() from None


def _cancellations(task: asyncio.Task[object] | None) -> int:
    cancelling = getattr(task, "cancelling", None)  # Python 3.11
    return 0 if cancelling is None else cancelling()
