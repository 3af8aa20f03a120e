"""Watches objects of a cluster with kubectl, and notes when it heard of each change."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType

from benchmarks.cluster.series import ClusterEvent


class Watch(AbstractContextManager["Watch"]):
    """A watch in a thread of its own."""

    def __init__(self, namespace: str, *words: str) -> None:
        """A watch that has not begun.

        Args:
            namespace: of the objects.
            words: of ``kubectl get``: kind and selector.
        """
        self.events: list[ClusterEvent] = []
        """What was heard so far, in order."""
        self._command = [
            "kubectl",
            "get",
            *words,
            "-n",
            namespace,
            "--watch",
            "--output-watch-events",
            "-o",
            "json",
        ]
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Watch:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(read_event(line, time.perf_counter()))


def read_event(line: str, heard: float) -> ClusterEvent:
    """An event as kubectl writes it, in one line.

    Args:
        line: of JSON.
        heard: when it came, seconds of the machine's monotonic clock.
    """
    document = json.loads(line)
    return ClusterEvent(heard, document["type"], document["object"])
