"""Prometheus metrics of requests over REST and gRPC, and of the process. The services add metrics of their own.

:class:`LabelledRegistry` gives all of them the labels ``component`` and ``release`` when they are scraped, so that
requests pay nothing for these. docs/metrics.md lists all metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

from protocol.error_codes import ErrorCode

_REASONS: dict[int | None, str] = {
    400: "malformed",
    408: "head_timeout",
    431: "head_too_large",
    None: "not_read",
}
"""Reasons for closing a connection, by the status that was answered."""
LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0
)  # fmt: skip
"""Seconds from a cache hit to the longest deadline of the manifests."""
OK = "ok"
"""Value of the label ``code`` for a request without an error."""


class LabelledRegistry(Collector):
    """A registry whose metrics named ``yiwen_*`` have further labels with constant values."""

    def __init__(self, labels: Mapping[str, str], registry: CollectorRegistry = REGISTRY) -> None:
        """Show the metrics of ``registry``.

        Args:
            labels: values by name; a metric's own label of that name wins.
            registry: holds the metrics.
        """
        self._labels = dict(labels)
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """All metric families, with the labels added."""
        for family in self._registry.collect():
            if family.name.startswith("yiwen_"):
                family.samples = [
                    sample._replace(labels={**self._labels, **sample.labels}) for sample in family.samples
                ]
            yield family


class ProcessMetrics:
    """What runs in this process, and how long its start took."""

    def __init__(
        self, *, version: str, revision: str, release: str, registry: CollectorRegistry = REGISTRY
    ) -> None:
        """Create the series.

        Args:
            version: of the package.
            revision: commit that the image was built from.
            release: id of the release that is served.
            registry: to create them in.
        """
        Gauge(
            "yiwen_build_info",
            "Always 1; its labels say which version of Yiwen, built from which commit, serves which release",
            ("version", "revision", "release"),
            registry=registry,
        ).labels(version, revision, release).set(1)
        self._phases = Gauge(
            "yiwen_cold_start_seconds",
            "Seconds that a phase of the process's start took: import (Python and its modules), load (the release), "
            "warm_up (until a readiness probe succeeded)",
            ("phase",),
            registry=registry,
        )

    def phase(self, name: str, seconds: float) -> None:
        """Publish a phase of the start that has ended."""
        self._phases.labels(name).set(seconds)


class ConnectionMetrics:
    """Connections that were closed for what their client did, before or after a request."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        closed = Counter(
            "yiwen_connections_closed_total",
            "HTTP connections closed for what their client did: malformed (not HTTP/1.1), head_timeout, "
            "head_too_large, not_read (the client did not read its response)",
            ("reason",),
            registry=registry,
        )
        self._closed = {reason: closed.labels(reason) for reason in _REASONS.values()}

    def refused(self, status: int) -> None:
        """Count a connection on which ``status`` was answered instead of a request being handled."""
        self._closed[_REASONS[status]].inc()

    def not_read(self) -> None:
        """Count a connection whose client did not read its response."""
        self._closed[_REASONS[None]].inc()


class Operation(NamedTuple):
    """What a request asks for: the labels that its metrics and its log line have in common."""

    surface: str
    """``rest`` or ``grpc``."""
    api: str = "v2"
    """Name of the public API; ``v2`` for KServe's protocol."""
    endpoint: str = "other"
    """``infer``, ``generate``, ``generate_stream``; the path of the route for other APIs."""


class _Series(NamedTuple):
    requests: Counter
    seconds: Histogram


class RequestMetrics:
    """Request metrics of one model. Both REST and gRPC are labelled with HTTP statuses."""

    def __init__(
        self, model: str, registry: CollectorRegistry = REGISTRY, codes: Iterable[ErrorCode] = ErrorCode
    ) -> None:
        """Create the series.

        Args:
            model: name in the label ``model``.
            registry: to create them in.
            codes: error codes whose counters are there from the start.
        """
        self._model = model
        self._requests = Counter(
            "yiwen_requests_total",
            "Requests answered, by HTTP status and error code (docs/errors.md; ok without an error); 499 is a caller "
            "that left",
            ("model", "surface", "api", "endpoint", "status", "code"),
            registry=registry,
        )
        self._rejected = Counter(
            "yiwen_requests_rejected_total",
            "Requests that were answered with an error, by HTTP status and error code (docs/errors.md)",
            ("model", "status", "code"),
            registry=registry,
        )
        for code in codes:
            self._rejected.labels(model, str(code.http_status), code.value)
        self._seconds = Histogram(
            "yiwen_request_seconds",
            "Seconds from a request's headers to the end of its answer, by class of its HTTP status (2xx, 4xx, 5xx)",
            ("model", "surface", "api", "endpoint", "code_class"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._in_flight = 0
        in_flight = Gauge(
            "yiwen_requests_in_flight", "Requests being answered now", ("model",), registry=registry
        )
        in_flight.labels(model).set_function(lambda: self._in_flight)
        # labels() locks and hashes, so the few children that every request needs are kept.
        self._series: dict[tuple[Operation, int, ErrorCode | None], _Series] = {}

    def expect(self, operation: Operation) -> None:
        """Create the counter of an operation's good answers, so that the first one shows as an increase."""
        self._requests.labels(self._model, *operation, "200", OK)

    def started(self) -> None:
        """Count a request that has started."""
        self._in_flight += 1

    def finished(
        self,
        operation: Operation,
        status: int,
        seconds: float,
        code: ErrorCode | None = None,
        exemplar: dict[str, str] | None = None,
    ) -> None:
        """Count a request that was answered.

        Args:
            operation: what it asked for.
            status: HTTP status.
            seconds: from its headers to the end of its response.
            code: of the error that it was answered with.
            exemplar: labels that lead to its trace, if it is sampled.
        """
        self._in_flight -= 1
        series = self._series.get((operation, status, code))
        if series is None:
            series = self._new_series(operation, status, code)
        series.requests.inc()
        series.seconds.observe(seconds, exemplar)
        if code is not None:
            self._rejected.labels(self._model, str(code.http_status), code.value).inc()

    def _new_series(self, operation: Operation, status: int, code: ErrorCode | None) -> _Series:
        name = OK if code is None else code.value
        series = _Series(
            self._requests.labels(self._model, *operation, str(status), name),
            self._seconds.labels(self._model, *operation, f"{status // 100}xx"),
        )
        self._series[operation, status, code] = series
        return series
