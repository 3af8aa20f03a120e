"""What Kubernetes would say of pods, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


@dataclass(frozen=True, slots=True)
class StandInStateMetrics:
    """Serves what kube-state-metrics would: its two metrics that the rules ask for, as the tests set them."""

    address: str
    restarts: Counter
    """``kube_pod_container_status_restarts_total`` of namespace, pod and container."""
    phase: Gauge
    """``kube_pod_status_phase`` of namespace, pod and phase: 1 for the pod's own."""


@contextmanager
def stand_in_state_metrics() -> Iterator[StandInStateMetrics]:
    """Run it, without pods."""
    registry = CollectorRegistry()
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield StandInStateMetrics(
            f"127.0.0.1:{server.server_port}",
            Counter(
                "kube_pod_container_status_restarts",
                "Restarts of a container.",
                ("namespace", "pod", "container"),
                registry=registry,
            ),
            Gauge(
                "kube_pod_status_phase", "Phase of a pod.", ("namespace", "pod", "phase"), registry=registry
            ),
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
