"""Prometheus metrics of requests over REST and gRPC. The services add metrics of their own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from protocol.error_codes import ErrorCode

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


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
        in_flight = Gauge(
            "yiwen_requests_in_flight", "Requests being answered now", ("model",), registry=registry
        )
        self._in_flight = in_flight.labels(model)
        # labels() locks and hashes, so the few children that every request needs are kept.
        self._counters: dict[tuple[str, int], Counter] = {}
        self._histograms = {surface: self._seconds.labels(model, surface) for surface in ("rest", "grpc")}

    def started(self) -> None:
        """Count a request that has started."""
        self._in_flight.inc()

    def finished(self, surface: str, status: int, seconds: float, code: ErrorCode | None = None) -> None:
        """Count a request that was answered.

        Args:
            surface: ``rest`` or ``grpc``.
            status: HTTP status.
            seconds: from its headers to the end of its response.
            code: of the error that it was answered with.
        """
        self._in_flight.dec()
        counter = self._counters.get((surface, status))
        if counter is None:
            counter = self._requests.labels(self._model, surface, str(status))
            self._counters[surface, status] = counter
        counter.inc()
        self._histograms[surface].observe(seconds)
        if code is not None:
            self._rejected.labels(self._model, code.value).inc()
