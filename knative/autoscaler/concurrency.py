"""Load metrics: the reports of queue-proxies and activators, and the sampling of pods.

Ported from ``pkg/activator/handler/concurrency_reporter.go``, ``pkg/autoscaler/metrics/stats_scraper.go``,
``sample_size.go`` and ``collector.go``.
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
