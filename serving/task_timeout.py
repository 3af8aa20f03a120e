"""A limit on the time that a task spends in a block; ``asyncio.timeout``, which Python 3.10 lacks."""

from __future__ import annotations

import asyncio
from types import TracebackType

from protocol.errors import YiwenError


class TaskTimeout:
    """Context manager that raises an error in its block at a moment; may be entered repeatedly."""

    __slots__ = ("_at", "_error", "_expired", "_loop", "_message", "_task", "_timer")

    def __init__(self, timeout_s: float, error: type[YiwenError], message: str) -> None:
        """Set the moment.

        Args:
            timeout_s: seconds from now.
            error: raised then.
            message: of the error.
        """
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + timeout_s
        self._error = error
        self._message = message
        self._expired = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = self._loop.call_at(self._at, self._expire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and isinstance(error, asyncio.CancelledError):
            uncancel = getattr(self._task, "uncancel", None)  # Python 3.11
            if uncancel is not None:
                uncancel()
            raise self._error(self._message) from None

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()
