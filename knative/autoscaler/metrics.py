"""One revision's metrics, in four sliding windows.

Ported from ``pkg/autoscaler/metrics/collector.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from knative.autoscaler.annotations import RPS, WEIGHTED_EXPONENTIAL
from knative.autoscaler.concurrency import Stat
from knative.autoscaler.windows import TimedFloat64Buckets, WeightedFloat64Buckets, WindowAverager


class MetricCollection:
    """Concurrency and requests per second, each over the stable and the panic window.

    Args:
        stable_window: seconds.
        panic_window: seconds.
        algorithm: ``linear`` or ``weighted-exponential``.
        scraped: whether pods are scraped; with a target burst capacity of -1 they are not.
    """

    def __init__(
        self, stable_window: float, panic_window: float, algorithm: str, *, scraped: bool = True
    ) -> None:
        buckets: Callable[[float], WindowAverager] = (
            WeightedFloat64Buckets if algorithm == WEIGHTED_EXPONENTIAL else TimedFloat64Buckets
        )
        self.scraped = scraped
        self._concurrency, self._concurrency_panic = buckets(stable_window), buckets(panic_window)
        self._rps, self._rps_panic = buckets(stable_window), buckets(panic_window)

    def record(self, now: float, stat: Stat) -> None:
        """Add a report of the pods or of an activator, without the load that an activator counted."""
        concurrency = stat.average_concurrent_requests - stat.average_proxied_concurrent_requests
        self._concurrency.record(now, concurrency)
        self._concurrency_panic.record(now, concurrency)
        rps = stat.request_count - stat.proxied_request_count
        self._rps.record(now, rps)
        self._rps_panic.record(now, rps)

    def stable_and_panic(self, metric: str, now: float) -> tuple[float, float] | None:
        """Averages of ``concurrency`` or ``rps`` over both windows; None without data (``ErrNoData``)."""
        stable, panic = (
            (self._rps, self._rps_panic) if metric == RPS else (self._concurrency, self._concurrency_panic)
        )
        if self.scraped and stable.is_empty(now):
            return None
        return stable.window_average(now), panic.window_average(now)
