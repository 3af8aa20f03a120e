"""How long the phases of a process's start take: what a cold start costs once its pod is scheduled."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from serving.metrics import ProcessMetrics


def process_age_s() -> float | None:
    """Seconds since this process was started; None where the operating system does not tell (all but Linux)."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            started_ticks = int(file.read().rpartition(")")[2].split()[19])  # field 22 of proc(5)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return None


class StartTimes:
    """The phases of a process's start. Created where the phase ``import`` ends."""

    def __init__(self, age_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin the phase ``load``.

        Args:
            age_s: of the process, seconds; None leaves the phase ``import`` out.
            clock: monotonic, seconds.
        """
        self._clock = clock
        self._ended = clock()
        self._seconds: dict[str, float] = {} if age_s is None else {"import": age_s}
        self._metrics: ProcessMetrics | None = None

    def loaded(self) -> None:
        """The release is in memory."""
        self._end("load")

    def ready(self) -> None:
        """A readiness probe succeeds; the first one ends the start."""
        if "warm_up" not in self._seconds:
            self._end("warm_up")

    def publish(self, metrics: ProcessMetrics) -> None:
        """Show the phases that have ended, and from now on each that ends."""
        self._metrics = metrics
        for phase, seconds in self._seconds.items():
            metrics.phase(phase, seconds)

    def _end(self, phase: str) -> None:
        now = self._clock()
        self._seconds[phase], self._ended = now - self._ended, now
        if self._metrics is not None:
            self._metrics.phase(phase, self._seconds[phase])
