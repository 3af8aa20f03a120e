"""Cancellation of a REST request whose client disconnects.

ASGI reports a closed connection as a message of ``receive``, so a task awaits ``receive`` while the request is
handled. gRPC cancels handlers by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from protocol.errors import CallerGone
from serving.task_timeout import OwnCancellation

T = TypeVar("T")

_LISTEN_AFTER_S = 0.005
"""Delay before ``receive`` is awaited. Most responses are ready earlier and need no listener task."""


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, and cancel it when the client disconnects.

    Args:
        receive: the request's ASGI ``receive``, after its body was read.
        work: runs in the current task.

    Raises:
        CallerGone: the client disconnected first.
    """
    listener = _DisconnectListener(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if not listener.cancellation.absorb():
            raise
        raise CallerGone("the caller closed the connection") from None
    finally:
        listener.close()


class _DisconnectListener:
    """Cancels the task that made it when ``receive`` returns ``http.disconnect``."""

    def __init__(self, receive: Receive) -> None:
        self.cancellation = OwnCancellation()
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(_LISTEN_AFTER_S, self._start)

    def close(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.cancellation.request()
