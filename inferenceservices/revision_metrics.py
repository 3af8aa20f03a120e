"""Reads the counters of a release's pods through the API server, which needs no way to the pods."""

from __future__ import annotations

from inferenceservices.canary.counters import ProcessCounters, read_counters
from inferenceservices.cluster import ClusterError, PermissionDenied
from inferenceservices.cluster_snapshot import ClusterReader
from inferenceservices.doctor.snapshot import name_of
from inferenceservices.rollout_state import TRANSFORMER
from protocol.kubernetes.documents import mapping

REVISION_LABEL = "serving.knative.dev/revision"
SERVICE_LABEL = "serving.kserve.io/inferenceservice"


def scrape_revision(reader: ClusterReader, revision: str) -> ProcessCounters:
    """Counters of each running pod of a transformer's revision, by the pod's name.

    Raises:
        ClusterError: the pods or their metrics cannot be read.
    """
    return _scrape(reader, f"{REVISION_LABEL}={revision}")


def scrape_transformers(reader: ClusterReader, service: str) -> ProcessCounters:
    """Counters of each running transformer of an InferenceService in Standard mode, by the pod's name.

    Raises:
        ClusterError: the pods or their metrics cannot be read.
    """
    return _scrape(reader, f"{SERVICE_LABEL}={service},component={TRANSFORMER}")


def _scrape(reader: ClusterReader, selector: str) -> ProcessCounters:
    pods = reader.core_objects("pods", "list_namespaced_pod", reader.namespace, label_selector=selector)
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
