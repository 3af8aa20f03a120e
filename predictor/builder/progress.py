"""Progress reports of a build: bars on a terminal, plain lines elsewhere, or none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

LINE_EVERY_BYTES = 1 << 30
"""Without a terminal one line per this many bytes: enough to show that a long build is running."""


class Reporter(Protocol):
    """Receives the progress of a build."""

    def begin(self, stage: str, total_bytes: int) -> None:
        """A stage of ``total_bytes`` starts."""

    def advance(self, count: int, item: str = "") -> None:
        """``count`` more bytes are done; ``item`` is being worked on."""

    def info(self, text: str) -> None:
        """A message that is no progress in bytes."""


class SilentReporter:
    """Reports nothing."""

    def begin(self, stage: str, total_bytes: int) -> None:
        """Do nothing."""

    def advance(self, count: int, item: str = "") -> None:
        """Do nothing."""

    def info(self, text: str) -> None:
        """Do nothing."""


class LineReporter:
    """Plain lines, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage, self._total, self._done, self._printed = "", 0, 0, 0

    def begin(self, stage: str, total_bytes: int) -> None:
        """Print the stage and its size."""
        self._stage, self._total, self._done, self._printed = stage, total_bytes, 0, 0
        print(f"{stage}: {_mebibytes(total_bytes)}", file=self._stream, flush=True)

    def advance(self, count: int, item: str = "") -> None:
        """Print a line per :data:`LINE_EVERY_BYTES`."""
        self._done += count
        if self._done - self._printed >= LINE_EVERY_BYTES:
            self._printed = self._done
            done = f"{_mebibytes(self._done)} of {_mebibytes(self._total)}"
            print(f"{self._stage}: {done} {item}".rstrip(), file=self._stream, flush=True)

    def info(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream, flush=True)


class BarReporter:
    """One progress bar per stage, for terminals."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, stage: str, total_bytes: int) -> None:
        """Start a new bar below the finished ones."""
        self._task = self._progress.add_task(stage, total=max(1, total_bytes), item="")

    def advance(self, count: int, item: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, advance=count, item=item)

    def info(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)


@contextmanager
def reporter_for(stream: TextIO = sys.stderr) -> Iterator[Reporter]:
    """The reporter that fits ``stream``."""
    console = Console(file=stream)
    if not console.is_terminal:
        yield LineReporter(stream)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[item]}", style="dim"),
    )
    with Progress(*columns, console=console) as progress:
        yield BarReporter(progress)


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
