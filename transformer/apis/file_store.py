"""Where uploaded and translated files wait until they are fetched: Redis, or the memory of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from protocol.errors import NotReady
from transformer.cache.redis_client import RedisStore, StoreError

KEPT_S = 3600.0
"""Lifetime of a file that nobody fetches."""
_PREFIX = "yiwen:file:"


class FileStore(Protocol):
    """Keeps bytes by name for :data:`KEPT_S`. Whoever puts files bounds how many."""

    async def put(self, name: str, content: bytes) -> None:
        """Keep a file, in place of an older one of its name.

        Raises:
            NotReady: the store cannot be reached.
        """
        ...

    async def get(self, name: str) -> bytes | None:
        """A file's content; None if there is none of this name."""
        ...

    async def delete(self, *names: str) -> None:
        """Forget files."""
        ...


class MemoryFiles:
    """In this process: other replicas do not know them, and they end with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files: dict[str, tuple[float, bytes]] = {}

    async def put(self, name: str, content: bytes) -> None:
        """As :meth:`FileStore.put`."""
        now = self._clock()
        for old in [old for old, (put_at, _) in self._files.items() if now - put_at > KEPT_S]:
            del self._files[old]
        self._files[name] = now, content

    async def get(self, name: str) -> bytes | None:
        """As :meth:`FileStore.get`."""
        put_at, content = self._files.get(name, (0.0, None))
        return content if content is not None and self._clock() - put_at <= KEPT_S else None

    async def delete(self, *names: str) -> None:
        """As :meth:`FileStore.delete`."""
        for name in names:
            self._files.pop(name, None)


class RedisFiles:
    """In Redis, where all replicas find them."""

    def __init__(self, store: RedisStore) -> None:
        """Connect to nothing yet.

        Args:
            store: with time for commands of megabytes.
        """
        self._store = store

    async def put(self, name: str, content: bytes) -> None:
        """As :meth:`FileStore.put`."""
        try:
            (fault,) = await self._store.set_many([(_PREFIX + name, content, round(1000 * KEPT_S))])
        except StoreError as error:
            raise _unavailable() from error
        if fault is not None:
            raise _unavailable()

    async def get(self, name: str) -> bytes | None:
        """As :meth:`FileStore.get`."""
        try:
            (content,) = await self._store.get_many([_PREFIX + name])
        except StoreError as error:
            raise _unavailable() from error
        return content

    async def delete(self, *names: str) -> None:
        """As :meth:`FileStore.delete`."""
        try:
            await self._store.delete([_PREFIX + name for name in names])
        except StoreError as error:
            raise _unavailable() from error


def _unavailable() -> NotReady:
    return NotReady("the files cannot be reached; try again", retry_after_s=1.0)
