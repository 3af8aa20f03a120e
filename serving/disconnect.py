"""Notice a REST caller that leaves, and cancel the work done for it.

HTTP says nothing when a caller gives up, but the server sees the connection close. ASGI reports that through
``receive``, so somebody has to listen while the work runs. gRPC does this by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from protocol.errors import CallerGone

T = TypeVar("T")

_LISTEN_AFTER_S = 0.005
"""Most answers come sooner than this, and then nobody has to listen at all."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Result of ``work``, which is cancelled as soon as the caller's connection closes.

    Args:
        receive: the request's, after its body was read.
        work: runs in the current task.

    Raises:
        CallerGone: the caller left first.
    """
    listener = _Listener(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if not listener.gone:
            raise
        listener.forgive()
        raise CallerGone("the caller closed the connection") from None
    finally:
        listener.close()


class _Listener:
    """Cancels the task it is made in when ``receive`` says that the connection closed."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._work = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(_LISTEN_AFTER_S, self._start)

    def close(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def forgive(self) -> None:
        """Take the cancellation back, so that later timeouts in the same task do not trip over it (3.11)."""
        uncancel = getattr(self._work, "uncancel", None)
        if uncancel is not None:
            uncancel()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._work is not None:
            self._work.cancel()
