"""Metrics of the way to the predictor: routing, admission, queues and cold starts."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from transformer.metrics.series import SECONDS, Series, start_at_zero

GATEWAY_STATUSES = (401, 403, 502, 503, 504)
"""HTTP statuses with which what stands before a predictor says that it reached none."""
_START_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class RoutingMetrics:
    """Metrics of routing, admission and cold starts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sends = Counter(
            "yiwen_transformer_predictor_sends",
            "Requests sent to a predictor, those sent again included, by address (main, latest, prev, tagged1 ...). "
            "What was refused before it was sent is not counted.",
            ("address",),
            registry=registry,
        )
        self.searches = Counter(
            "yiwen_transformer_release_searches",
            "Searches for a predictor of this transformer's own release, by result: found, not_found.",
            ("result",),
            registry=registry,
        )
        start_at_zero(self.searches, ("found", "not_found"))
        self.found = Gauge(
            "yiwen_transformer_predictor_found",
            "1 once a predictor of this transformer's release was ready; until then the readiness probe fails.",
            registry=registry,
        )
        self.queue_seconds = Series(
            Histogram(
                "yiwen_transformer_queue_seconds",
                "Seconds that a request to the predictor waited in this process, by queue: fair (for its caller's "
                "share), connection (for a connection of the pool).",
                ("queue",),
                registry=registry,
                buckets=SECONDS,
            )
        )
        self.retries = Counter(
            "yiwen_transformer_predictor_retries",
            "Requests that could be sent again by kind (reconnect, reroute, cold_start) and result: made, or refused "
            "because the retry budget was used up.",
            ("kind", "result"),
            registry=registry,
        )
        start_at_zero(self.retries, ("reconnect", "reroute", "cold_start"), ("made", "refused"))
        self.admissions = Counter(
            "yiwen_transformer_admissions",
            "Requests with cache misses by result: admitted, refused.",
            ("result",),
            registry=registry,
        )
        start_at_zero(self.admissions, ("admitted", "refused"))
        self.connections_refused = Counter(
            "yiwen_transformer_connections_refused",
            "Requests refused because no connection to the predictor became free in time.",
            registry=registry,
        )
        self.gateway_errors = Counter(
            "yiwen_transformer_gateway_errors",
            "Responses of what stands between this process and the predictor (mesh, ingress, activator, queue-proxy) "
            "that mean that no predictor was reached, by status (401, 403, 502, 503, 504).",
            ("status",),
            registry=registry,
        )
        start_at_zero(self.gateway_errors, tuple(map(str, GATEWAY_STATUSES)))
        self.waits = Counter(
            "yiwen_transformer_cold_start_waits",
            "Requests that had to wait for the predictor to come up by result: released, given_up, full.",
            ("result",),
            registry=registry,
        )
        start_at_zero(self.waits, ("released", "given_up", "full"))
        self.wait_seconds = Histogram(
            "yiwen_transformer_cold_start_wait_seconds",
            "Seconds that a request waited for the predictor to come up, however its wait ended.",
            registry=registry,
            buckets=_START_SECONDS,
        )
        self.start_seconds = Histogram(
            "yiwen_transformer_predictor_start_seconds",
            "Seconds from the first request that the predictor did not take until it was up.",
            registry=registry,
            buckets=_START_SECONDS,
        )
        self._tokens = Gauge(
            "yiwen_transformer_admitted_tokens",
            "Tokens (prompts and longest answers allowed) of requests under way to the predictor.",
            registry=registry,
        )
        self._drain = Gauge(
            "yiwen_transformer_drain_tokens_per_second",
            "Measured rate at which admitted tokens are done while there are any; 0 while unknown.",
            registry=registry,
        )
        self._cold_starts = Gauge(
            "yiwen_transformer_cold_start_waiters",
            "Requests that wait for the predictor to come up.",
            registry=registry,
        )

    def watch_admission(self, *, tokens: Callable[[], float], drain_per_s: Callable[[], float]) -> None:
        """Read the admitted tokens whenever metrics are scraped."""
        self._tokens.set_function(tokens)
        self._drain.set_function(drain_per_s)

    def watch_cold_starts(self, waiters: Callable[[], float]) -> None:
        """Read the number of waiters whenever metrics are scraped."""
        self._cold_starts.set_function(waiters)
