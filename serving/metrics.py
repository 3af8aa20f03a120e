"""Prometheus metrics of requests over REST and gRPC. The services add metrics of their own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from protocol.error_codes import ErrorCode

_REASONS: dict[int | None, str] = {
    400: "malformed",
    408: "head_timeout",
    431: "head_too_large",
    None: "not_read",
}
"""Reasons for closing a connection, by the status that was answered."""
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


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
            "Requests answered, by the status of the error table; 499 is a caller that left",
            ("model", "surface", "status"),
            registry=registry,
        )
        self._rejected = Counter(
            "yiwen_requests_rejected_total",
            "Requests that were answered with an error, by its code (docs/errors.md)",
            ("model", "code"),
            registry=registry,
        )
        for code in codes:
            self._rejected.labels(model, code.value)
        self._seconds = Histogram(
            "yiwen_request_seconds",
            "Time from a request's headers to the end of its answer, in seconds",
            ("model", "surface"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._in_flight = 0
        in_flight = Gauge(
            "yiwen_requests_in_flight", "Requests being answered now", ("model",), registry=registry
        )
        in_flight.labels(model).set_function(lambda: self._in_flight)
        # labels() locks and hashes, so the few children that every request needs are kept.
        self._counters: dict[tuple[str, int], Counter] = {}
        self._histograms = {surface: self._seconds.labels(model, surface) for surface in ("rest", "grpc")}

    def started(self) -> None:
        """Count a request that has started."""
        self._in_flight += 1

    def finished(self, surface: str, status: int, seconds: float, code: ErrorCode | None = None) -> None:
        """Count a request that was answered.

        Args:
            surface: ``rest`` or ``grpc``.
            status: HTTP status.
            seconds: from its headers to the end of its response.
            code: of the error that it was answered with.
        """
        self._in_flight -= 1
        counter = self._counters.get((surface, status))
        if counter is None:
            counter = self._requests.labels(self._model, surface, str(status))
            self._counters[surface, status] = counter
        counter.inc()
        self._histograms[surface].observe(seconds)
        if code is not None:
            self._rejected.labels(self._model, code.value).inc()


class ApiMetrics:
    """Metrics of the public APIs besides the v2 protocol; :class:`RequestMetrics` counts their requests as well."""

    def __init__(self, apis: Iterable[str], registry: CollectorRegistry = REGISTRY) -> None:
        self._requests = Counter(
            "yiwen_api_requests_total",
            "Requests answered by a public API other than the v2 protocol, by API and HTTP status",
            ("api", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "yiwen_api_request_seconds",
            "Time from the headers of a request to a public API to the end of its answer, in seconds",
            ("api",),
            buckets=_BUCKETS,
            registry=registry,
        )
        for api in apis:
            self._seconds.labels(api)

    def finished(self, api: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Args:
            api: name of the API.
            status: HTTP status.
            seconds: from its headers to the end of its response.
        """
        self._requests.labels(api, str(status)).inc()
        self._seconds.labels(api).observe(seconds)
