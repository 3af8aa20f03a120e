"""Other processes of a node, which take processor time from the pods: Kubernetes itself, or neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from knative.simulator.engine.processors import CorePool

TURN_S = 0.010
"""Seconds from one turn of each thread to its next."""


@dataclass(frozen=True, slots=True)
class BusyCores:
    """Number of cores that other processes keep busy over time."""

    values: tuple[float, ...] = (0.0,)
    """At least 0; the last one holds from its time on."""
    seconds: float = 1.0
    """Duration of each value."""

    def at(self, time: float) -> float:
        """The number ``time`` seconds after the start."""
        return self.values[min(int(time / self.seconds), len(self.values) - 1)]


class OtherProcesses:
    """One thread per core, each of which computes its share of the busy cores in every turn."""

    def __init__(self, cores: CorePool, count: int, busy: BusyCores) -> None:
        """Threads that compute from now on.

        Args:
            cores: of the node.
            count: number of its cores.
            busy: what the threads compute, all together.
        """
        self._cores, self._busy = cores, busy
        self._loops = [cores.thread().event_loop() for _ in range(count)]
        if any(busy.values):
            self._turn()

    def _turn(self, _: object = None) -> None:
        clock = self._cores.clock
        # Work at the speed that the cores have, since what was measured is time on a core.
        seconds = self._busy.at(clock.now) / len(self._loops) * TURN_S * self._cores.speed
        for loop in self._loops if seconds else ():
            loop.submit(seconds, _nothing)
        clock.call_at(clock.now + TURN_S, self._turn)


def _nothing(_: object) -> None:
    """What follows the work of another process."""
