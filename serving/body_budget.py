"""The memory that request bodies may take: all that are held at once, and those that are decoded at once."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Message, Receive

from protocol.error_codes import ErrorCode
from protocol.errors import Overloaded

SMALL_BYTES = 64 * 1024
"""A body of this size is always taken, and decoded at once: within some milliseconds."""
_RETRY_AFTER_S = 1.0


class BodyBudget:
    """Counts the bytes of all bodies that this process holds, from their first byte to the end of their requests."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._decoding = asyncio.Lock()

    def counting(self, receive: Receive) -> _CountedBody:
        """A context manager that gives ``receive`` of one request, whose bytes are counted until its exit.

        It raises Overloaded where the bodies would take too much memory.
        """
        return _CountedBody(self, receive)

    def add(self, size: int, own: int) -> None:
        """Count ``size`` more bytes of a body that has ``own`` bytes with them.

        Raises:
            Overloaded: the bodies take too much memory, and this one is not small.
        """
        self._held += size
        if own > SMALL_BYTES and self._held > self._max_bytes:
            raise Overloaded(
                f"the bodies of requests in progress take more than {self._max_bytes} bytes; retry later, "
                "add replicas, or raise YIWEN_MAX_BODIES_BYTES",
                code=ErrorCode.BODIES_FULL,
                retry_after_s=_RETRY_AFTER_S,
            )

    def remove(self, size: int) -> None:
        """Count ``size`` bytes no longer."""
        self._held -= size

    async def turn(self, size: int) -> None:
        """Wait until a body of ``size`` bytes may be decoded.

        Decoding one takes the event loop some tenths of a second at worst. Between two of them it serves everything
        else, such as probes.
        """
        if size > SMALL_BYTES:
            async with self._decoding:
                await asyncio.sleep(0)


class _CountedBody:
    """Counts the bytes that the ``receive`` of one request gives."""

    __slots__ = ("_budget", "_receive", "_size")

    def __init__(self, budget: BodyBudget, receive: Receive) -> None:
        self._budget = budget
        self._receive = receive
        self._size = 0

    def __enter__(self) -> Receive:
        return self.receive

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.remove(self._size)

    async def receive(self) -> Message:
        """The next message."""
        message = await self._receive()
        size = len(message.get("body", b""))
        if size:
            self._size += size
            self._budget.add(size, self._size)
        return message
