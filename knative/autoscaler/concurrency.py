"""Load metrics: the reports of queue-proxies and activators, and the sampling of pods.

Ported from ``knative.dev/networking/pkg/http/stats/request.go``, ``pkg/activator/handler/concurrency_reporter.go``,
``pkg/autoscaler/metrics/stats_scraper.go``, ``sample_size.go`` and ``collector.go``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

REPORT_INTERVAL = 1.0
"""Seconds between two reports of a queue-proxy or an activator, and between two scrapes."""

SAMPLE_SIZE = 1.96 * 1.96 * 100.0 / (5.0 * 5.0)
"""Sample size of an infinite population: 95 % confidence, variance 100, margin of error 5."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One source's load over one report interval.

    ``request_count`` counts arrivals within the interval. A pod also reports the part of its load that came through
    an activator (``proxied``) and was counted there.
    """

    average_concurrent_requests: float = 0.0
    average_proxied_concurrent_requests: float = 0.0
    request_count: float = 0.0
    proxied_request_count: float = 0.0


class RequestStats:
    """Time-weighted average concurrency of one queue-proxy.

    Args:
        now: when it starts, seconds.
    """

    __slots__ = (
        "_arrivals",
        "_computed",
        "_computed_proxied",
        "_last_change",
        "_proxied_arrivals",
        "_seconds_in_use",
        "concurrency",
        "proxied_concurrency",
    )

    def __init__(self, now: float) -> None:
        self.concurrency = 0
        self.proxied_concurrency = 0
        self._last_change = now
        self._arrivals = self._proxied_arrivals = 0
        self._computed = self._computed_proxied = self._seconds_in_use = 0.0

    def request_in(self, now: float, *, proxied: bool = False) -> None:
        """A request arrived; ``proxied`` if an activator sent it."""
        self._compute(now)
        self.concurrency += 1
        self._arrivals += 1
        if proxied:
            self.proxied_concurrency += 1
            self._proxied_arrivals += 1

    def request_out(self, now: float, *, proxied: bool = False) -> None:
        """A request is done."""
        self._compute(now)
        self.concurrency -= 1
        if proxied:
            self.proxied_concurrency -= 1

    def report(self, now: float) -> Stat:
        """The load since the last report; starts a new interval."""
        self._compute(now)
        used = self._seconds_in_use
        stat = Stat(
            self._computed / used if used > 0 else 0.0,
            self._computed_proxied / used if used > 0 else 0.0,
            float(self._arrivals),
            float(self._proxied_arrivals),
        )
        self._arrivals = self._proxied_arrivals = 0
        self._computed = self._computed_proxied = self._seconds_in_use = 0.0
        return stat

    def _compute(self, now: float) -> None:
        seconds = now - self._last_change
        if seconds > 0:
            self._seconds_in_use += seconds
            self._computed += self.concurrency * seconds
            self._computed_proxied += self.proxied_concurrency * seconds
            self._last_change = now


class ConcurrencyReporter:
    """An activator's reports for one revision. The first request of an idle revision is reported at once."""

    __slots__ = ("_first", "_stats")

    def __init__(self) -> None:
        self._stats: RequestStats | None = None
        self._first = False

    def request_in(self, now: float) -> Stat | None:
        """A request arrived. Returns a report to send at once, or None."""
        news = None
        if self._stats is None:
            self._stats, self._first = RequestStats(now), True
            news = FIRST_REQUEST
        self._stats.request_in(now)
        return news

    def request_out(self, now: float) -> None:
        """A request is done; it must have been counted by :meth:`request_in`."""
        if self._stats is None:
            raise AssertionError("a request went out that never came in")
        self._stats.request_out(now)

    def report(self, now: float) -> Stat | None:
        """The report of this second; None while the revision is idle."""
        if self._stats is None:
            return None
        stat = self._stats.report(now)
        first, self._first = self._first, False
        if stat.average_concurrent_requests == 0 and self._stats.concurrency == 0:
            self._stats = None
        return without_first_request(stat) if first else stat


FIRST_REQUEST = Stat(average_concurrent_requests=1.0, request_count=1.0)
"""The report that an activator sends at once when an idle revision gets a request."""


def without_first_request(stat: Stat) -> Stat:
    """An activator's first report less :data:`FIRST_REQUEST`, which was sent before; concurrency at least 0."""
    return Stat(
        average_concurrent_requests=max(stat.average_concurrent_requests - 1.0, 0.0),
        request_count=stat.request_count - 1.0,
    )


def population_mean_sample_size(population: int) -> int:
    """Number of pods to scrape: all up to 3, else ``ceil(N X / (N + X - 1))`` of N, X = SAMPLE_SIZE."""
    if population <= 3:
        return max(population, 0)
    return math.ceil(population * SAMPLE_SIZE / (population + SAMPLE_SIZE - 1))


def scrape_pods(old: Sequence[Stat], young: Sequence[Stat], rng: Random) -> Stat | None:
    """The load of all pods, estimated from a sample. None without pods.

    Args:
        old: reports of the ready pods that are older than the stable window; they are preferred.
        young: reports of the other ready pods.
        rng: draws the sample.
    """
    total = len(old) + len(young)
    if total == 0:
        return None
    size = population_mean_sample_size(total)
    if size == total:
        sample: Iterable[Stat] = (*old, *young)
    elif len(old) >= size:
        sample = rng.sample(old, size)
    else:
        sample = (*old, *rng.sample(young, size - len(old)))
    return _scaled_sum(sample, size, total)


def _scaled_sum(stats: Iterable[Stat], size: int, total: int) -> Stat:
    concurrency = proxied = count = proxied_count = 0.0
    for stat in stats:
        concurrency += stat.average_concurrent_requests
        proxied += stat.average_proxied_concurrent_requests
        count += stat.request_count
        proxied_count += stat.proxied_request_count
    return Stat(
        concurrency / size * total,
        proxied / size * total,
        count / size * total,
        proxied_count / size * total,
    )
