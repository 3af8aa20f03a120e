"""Reads the counters of a revision's pods through the API server, which needs no way to the pods."""

from __future__ import annotations

from inferenceservices.canary.counters import ProcessCounters, read_counters
from inferenceservices.cluster import ClusterError, PermissionDenied
from inferenceservices.cluster_snapshot import ClusterReader
from inferenceservices.doctor.snapshot import name_of
from protocol.kubernetes.documents import mapping

REVISION_LABEL = "serving.knative.dev/revision"


def scrape_revision(reader: ClusterReader, revision: str) -> ProcessCounters:
    """Counters of each running pod of a revision, by the pod's name.

    Raises:
        ClusterError: the pods or their metrics cannot be read.
    """
    pods = reader.core_objects(
        "pods", "list_namespaced_pod", reader.namespace, label_selector=f"{REVISION_LABEL}={revision}"
    )
    running = [name_of(pod) for pod in pods if mapping(pod, "status").get("phase") == "Running"]
    return {name: _counters(reader, name) for name in running}


def _counters(reader: ClusterReader, pod: str) -> dict[str, float]:
    try:
        return read_counters(reader.pod_metrics(pod))
    except PermissionDenied:
        raise
    except ClusterError as error:
        raise ClusterError(
            f"{error}; if metrics are on YIWEN_METRICS_PORT, or a mesh wants mTLS, use --prometheus"
        ) from None
    except ValueError:
        raise ClusterError(
            f"what {pod} answers to /metrics is not Prometheus' text format: use --prometheus"
        ) from None
