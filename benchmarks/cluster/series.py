"""Numbers that change at certain times, and what the events of a cluster say about them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StepSeries:
    """A number over time, which changes in steps."""

    points: tuple[tuple[float, int], ...]
    """Times in seconds, rising, and the value from each on."""

    def at(self, time: float) -> int:
        """The value at a time; before the first point it is that of the first."""
        place = bisect.bisect_right(self.points, time, key=lambda point: point[0])
        return self.points[max(0, place - 1)][1]

    def since(self, began: float, seconds: float) -> StepSeries:
        """The series with times from ``began`` on, for ``seconds``."""
        inside = [(time - began, value) for time, value in self.points if began < time <= began + seconds]
        return StepSeries(((0.0, self.at(began)), *((round(time, 2), value) for time, value in inside)))


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """A change of an object."""

    time: float
    """At which it was heard of, on the machine's monotonic clock, seconds."""
    kind: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    item: Mapping[str, Any]

    @property
    def uid(self) -> str:
        return str(self.item["metadata"]["uid"])

    @property
    def is_ready(self) -> bool:
        """Whether it is a pod that is ready and stays."""
        if self.kind == "DELETED" or self.item["metadata"].get("deletionTimestamp"):
            return False
        conditions = self.item.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def desired_pods(events: Iterable[ClusterEvent]) -> StepSeries:
    """What a PodAutoscaler desires; its -1, not yet known, is left out."""
    points = ((event.time, int(event.item.get("status", {}).get("desiredScale", -1))) for event in events)
    return StepSeries(tuple((time, value) for time, value in points if value >= 0))


def ready_pods(events: Iterable[ClusterEvent]) -> StepSeries:
    """Number of ready pods."""
    ready: set[str] = set()
    points: list[tuple[float, int]] = []
    for event in events:
        (ready.add if event.is_ready else ready.discard)(event.uid)
        points.append((event.time, len(ready)))
    return StepSeries(tuple(points))


def start_seconds(desired: StepSeries, ready: StepSeries) -> list[float]:
    """Seconds from the decision for each pod to its readiness, for all pods that were started in the series."""
    seconds = []
    asked: list[float] = []
    changes = sorted([(time, 0, value) for time, value in desired.points]
                     + [(time, 1, value) for time, value in ready.points])  # fmt: skip
    wanted, there = desired.points[0][1], ready.points[0][1]
    for time, is_ready, value in changes:
        if not is_ready:
            asked = asked[: max(0, value - there)] + [time] * max(0, value - max(wanted, there))
            wanted = value
        else:
            for _ in range(value - there):
                if asked:
                    seconds.append(time - asked.pop(0))
            there = value
    return seconds
