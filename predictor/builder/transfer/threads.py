"""Work of a transfer in several threads: the first error ends all, and progress is counted once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from predictor.builder.progress import Reporter

AT_ONCE = 4
"""Files or layers that are read, fetched or sent at a time."""

Result = TypeVar("Result")


class TransferStopped(Exception):
    """Another task has failed, or the user has ended the command."""


class SharedProgress:
    """Counts the bytes of one stage from several threads, which it can stop."""

    def __init__(self, reporter: Reporter, stage: str, total: int) -> None:
        """Begin the stage.

        Args:
            reporter: of the progress.
            stage: its name.
            total: bytes.
        """
        reporter.begin(stage, total)
        self._reporter = reporter
        self._lock = threading.Lock()
        self._stopped = False

    def advance(self, count: int) -> None:
        """``count`` more bytes are done; negative where they are done again.

        Raises:
            TransferStopped: the task shall end.
        """
        with self._lock:
            if self._stopped:
                raise TransferStopped
            self._reporter.advance(count)

    def stop(self) -> None:
        """Let every task end when it next counts."""
        with self._lock:
            self._stopped = True


def run_all(tasks: Sequence[Callable[[], Result]], progress: SharedProgress) -> list[Result]:
    """Run tasks, :data:`AT_ONCE` at a time, and return their results in order.

    At the first error, and at Ctrl-C, the other tasks are stopped; the error is raised when they have ended.

    Args:
        tasks: which count with ``progress``.
        progress: of all of them.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            progress.stop()
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]
