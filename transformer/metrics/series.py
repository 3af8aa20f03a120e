"""What the metrics of several modules have in common: buckets, series that are kept, counters that start at 0."""

from __future__ import annotations

from itertools import product
from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600
)  # fmt: skip
"""Buckets from the overhead of a cache miss to the longest deadline; the default buckets cover less."""

_Metric = TypeVar("_Metric", Counter, Histogram)
PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Buckets of a probability; narrower near 1, where translations of a good model are."""


class Series(dict[tuple[str, ...], _Metric], Generic[_Metric]):
    """The series of a metric by their label values, made when first used.

    For what every request counts: ``labels()`` of the metric takes ten times as long.
    """

    def __init__(self, metric: _Metric) -> None:
        super().__init__()
        self._metric: _Metric = metric

    def __missing__(self, values: tuple[str, ...]) -> _Metric:
        series: _Metric = self._metric.labels(*values)
        self[values] = series
        return series


def start_at_zero(counter: Counter, *values: tuple[str, ...]) -> None:
    """Create the series of a counter, so that the first event shows as an increase.

    Args:
        counter: with a label for each of ``values``.
        values: of each label; every combination becomes a series.
    """
    for combination in product(*values):
        counter.labels(*combination)
