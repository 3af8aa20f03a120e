"""The memory that request bodies may take: all that are held at once, and those that are decoded at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

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

    @contextmanager
    def counting(self, receive: Receive) -> Iterator[Receive]:
        """``receive`` of one request, which raises Overloaded where the bodies would take too much memory."""
        own = 0

        async def counted() -> Message:
            nonlocal own
            message = await receive()
            size = len(message.get("body", b""))
            if size:
                own += size
                self._held += size
                if own > SMALL_BYTES and self._held > self._max_bytes:
                    raise Overloaded(
                        f"the bodies of requests in progress take more than {self._max_bytes} bytes; retry later, "
                        "add replicas, or raise YIWEN_MAX_BODIES_BYTES",
                        code=ErrorCode.BODIES_FULL,
                        retry_after_s=_RETRY_AFTER_S,
                    )
            return message

        try:
            yield counted
        finally:
            self._held -= own

    async def turn(self, size: int) -> None:
        """Wait until a body of ``size`` bytes may be decoded.

        Decoding one takes the event loop some tenths of a second at worst. Between two of them it serves everything
        else, such as probes.
        """
        if size > SMALL_BYTES:
            async with self._decoding:
                await asyncio.sleep(0)
