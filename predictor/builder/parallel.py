"""Background work while a file is written: ordered tasks in several threads, and a digest in a thread of its own.

numpy and hashlib release the interpreter's lock while they work on large arrays, so threads are enough.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Buffer = bytes | memoryview
UNHASHED = 4
"""Maximum number of buffers that wait to be hashed; they stay in memory until then."""


def run_ordered(tasks: Iterable[Callable[[], Result]], *, threads: int) -> Generator[Result, None, None]:
    """Run tasks in a thread pool and yield the results in order, at most ``2 * threads`` ahead of the caller.

    An exception of a task is raised in place of its result. Closing the iterator waits for the running tasks.
    """
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                ahead.append(pool.submit(task))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


class BackgroundDigest:
    """sha256 of a sequence of buffers, computed in a thread that ends with the context."""

    def __init__(self, begun: hashlib._Hash | None = None) -> None:
        """Continue the digest ``begun``, or start a new one."""
        self._digest = begun or hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def update(self, content: Buffer) -> None:
        """Add ``content``, which must not change afterwards."""
        self._waiting.append(self._pool.submit(self._digest.update, content))
        if len(self._waiting) > UNHASHED:
            self._waiting.popleft().result()

    def hexdigest(self) -> str:
        """The digest of everything that was added."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._digest.hexdigest()

    def __enter__(self) -> BackgroundDigest:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
