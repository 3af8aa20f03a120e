"""Drives a :class:`knative.autoscaler.kpa.KPA` through a given load, second by second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from knative.autoscaler.concurrency import Stat
from knative.autoscaler.kpa import KPA, Decision


@dataclass
class Drive:
    """``load`` is concurrent requests over seconds; time begins at 0 with ``ready`` pods."""

    kpa: KPA
    load: Callable[[int], float]
    start_s: int = 0
    ready: int = 0
    starting: list[int] = field(default_factory=list)
    """When each pod that was asked for becomes ready."""
    decisions: list[tuple[int, int, Decision]] = field(default_factory=list)
    """Second, ready pods, decision."""

    def run(self, begin: int, end: int) -> list[tuple[int, int, Decision]]:
        """The seconds [begin, end); returns what was decided in them."""
        for now in range(begin, end):
            self._settle(now)
            poked = self._report(now)
            if now % 2 == 0 or poked:
                self.decisions.append((now, self.ready, self.kpa.tick(float(now), self.ready)))
            else:
                self.decisions.append((now, self.ready, self.kpa.reconcile(float(now), self.ready)))
        return [entry for entry in self.decisions if begin <= entry[0] < end]

    def _settle(self, now: int) -> None:
        due = [when for when in self.starting if when <= now]
        self.starting = [when for when in self.starting if when > now]
        self.ready += len(due)
        missing = self.kpa.replicas - self.ready - len(self.starting)
        if missing > 0:
            self.starting += [now + self.start_s] * missing
        self.ready = min(self.ready, self.kpa.replicas)

    def _report(self, now: int) -> bool:
        load = self.load(now)
        proxied = not self.decisions or self.decisions[-1][2].activator_in_path
        share = load / self.ready if self.ready else 0.0
        pods = [Stat(share, share if proxied else 0.0)] * self.ready
        self.kpa.observe_pods(float(now), [], pods, Random(now))
        return proxied and load > 0 and self.kpa.observe(float(now), Stat(load))
