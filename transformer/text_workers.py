"""The threads in which large texts are prepared, so that they do not block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

INLINE_CHARACTERS = 8_000
"""Requests up to this size are prepared on the event loop, in a few milliseconds at most. Larger ones are prepared in
a thread, which costs about 0.1 ms more and does not block the loop."""

CHARACTERS_PER_TEXT = 40
"""The cost of each text besides its characters, in characters."""

DEFAULT_THREADS = 2

_Result = TypeVar("_Result")


class TextWorkers:
    """Threads for splitting and tokenizing. Work waits, oldest first, while all of them are busy.

    What a transformer holds in memory for work in progress is bounded by their number
    (:mod:`transformer.memory_bound`).
    """

    def __init__(self, threads: int = DEFAULT_THREADS) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="texts")

    async def run(self, size: int, work: Callable[[], _Result]) -> _Result:
        """Run ``work`` in a thread, or on the event loop if it is small.

        Args:
            size: of the texts that are worked on, as :func:`size_of` counts it.
            work: holds no lock.
        """
        if size <= INLINE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Cancel what waits. What runs goes on, in its thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def size_of(texts: Sequence[str]) -> int:
    """What preparing ``texts`` costs, in characters."""
    return sum(map(len, texts)) + CHARACTERS_PER_TEXT * len(texts)
