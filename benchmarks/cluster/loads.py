"""The loads: a step, bursts, a day in two minutes, and batches."""

from __future__ import annotations

from dataclasses import dataclass

EDGE_S = 4.0
"""The first two decisions after a step, seconds: when the autoscaler decides within its two seconds is chance."""


@dataclass(frozen=True, slots=True)
class ClusterLoad:
    """Requests of equal numbers of texts at Poisson times."""

    name: str
    arrivals: str
    """In the simulator's notation."""
    seconds: float
    texts: int = 1
    """Of each request."""
    edges: tuple[float, ...] = ()
    """Times at which the rate jumps, seconds."""

    def is_edge(self, time: float) -> bool:
        """Whether a decision at ``time`` is one of the first two after a step."""
        return any(0 <= time - edge < EDGE_S for edge in self.edges)


def warm_up(most_per_s: float) -> ClusterLoad:
    """A step that starts as many predictors as there may be.

    Args:
        most_per_s: answers per second of the service with as many callers as slots.
    """
    low, high, seconds = 0.05 * most_per_s, 0.4 * most_per_s, 30.0
    return ClusterLoad("warm-up", f"step:from={low:.3g},to={high:.3g},at=4,seconds={seconds:g}", seconds)


def cluster_loads(most_per_s: float, scale: float = 1.0) -> list[ClusterLoad]:
    """The loads, whose rates are fractions of the service's throughput.

    Args:
        most_per_s: answers per second of the service with as many callers as slots.
        scale: factor of all durations.
    """

    def rate(share: float) -> str:
        return f"{most_per_s * share:.3g}"

    def seconds(plain: float) -> float:
        return round(plain * scale, 3)

    at, end = seconds(30), seconds(110)
    every, length, last = seconds(45), seconds(12), seconds(130)
    day, batches = seconds(130), seconds(90)
    bursts = f"rate={rate(0.06)},burst={rate(0.4)},every={every:g},for={length:g},seconds={last:g}"
    return [
        ClusterLoad(
            "step", f"step:from={rate(0.06)},to={rate(0.33)},at={at:g},seconds={end:g}", end, edges=(at,)
        ),
        ClusterLoad(
            "bursts", f"bursts:{bursts}", last, edges=(every, every + length, 2 * every, 2 * every + length)
        ),
        ClusterLoad(
            "diurnal", f"diurnal:low={rate(0.04)},high={rate(0.33)},period={day:g},seconds={day:g}", day
        ),
        ClusterLoad("batches", f"poisson:rate={rate(0.2 / 8)},seconds={batches:g}", batches, texts=8),
    ]
