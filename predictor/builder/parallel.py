"""Work that runs ahead of a file being written: parts of it in several threads, its digest in one of its own.

numpy and hashlib let go of the interpreter's lock while they work on large arrays, so threads are enough.
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
"""Most buffers that wait for their digest: they stay in memory that long."""


def run_ordered(tasks: Iterable[Callable[[], Result]], *, threads: int) -> Generator[Result, None, None]:
    """Results in the order of ``tasks``, ``threads`` of them being made at a time and at most as many waiting.

    What a task raises is raised where its result would have come. Closing the iterator waits for those that run.
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
    """sha256 of buffers one after the other. A context: its thread ends with it."""

    def __init__(self, begun: hashlib._Hash | None = None) -> None:
        """Go on with ``begun``, or start anew."""
        self._digest = begun or hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def update(self, content: Buffer) -> None:
        """Take in ``content``, which nobody may change any more."""
        self._waiting.append(self._pool.submit(self._digest.update, content))
        if len(self._waiting) > UNHASHED:
            self._waiting.popleft().result()

    def hexdigest(self) -> str:
        """Of all that was taken in."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._digest.hexdigest()

    def __enter__(self) -> BackgroundDigest:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
