"""MIG slices on Node objects that no kubelet stands behind: affinity, taints, quota, zones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.features import Features
from tests.cluster.installation import Installation, own_namespace, unschedulable
from tests.cluster.kubectl import document, eventually, kubectl
from tests.cluster.overlays import Overlay
from tests.cluster.this_run import OWN_LABEL, run_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SLICE = "nvidia.com/mig-1g.10gb"
LABELS = {
    "kubernetes.io/os": "linux",
    "nvidia.com/mig.strategy": "mixed",
    "nvidia.com/mig.config.state": "success",
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    f"{SLICE}.count": "7",
}
"""As NVIDIA's GPU operator sets them."""
ABSENT = {"istio": "", "mtls": "", "monitoring": "", "redis-tls": "", "verify": ""}
"""Components of the overlay that need programs which a test cluster need not have."""


@contextmanager
def played_node(name: str, zone: str, labels: Mapping[str, str], slices: int = 7) -> Iterator[None]:
    """A Node with slices and the usual taint; pods are bound to it and never run."""
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    if slices:
        capacity[SLICE] = str(slices)
    node = {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            OWN_LABEL: run_id(), "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, **labels}},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
    }  # fmt: skip
    kubectl("create", "-f", "-", stdin=json.dumps(node))
    try:
        ready = [{"type": "Ready", "status": "True", "reason": "Played", "message": "played"}]
        status = {"status": {"capacity": capacity, "allocatable": capacity, "conditions": ready}}
        kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        eventually("a node that is ready", lambda: _taints(name) == ["nvidia.com/gpu"], 30.0)
        yield
    finally:
        kubectl("delete", "node", name)


def _taints(node: str) -> list[str]:
    return [each["key"] for each in document("node", node)["spec"].get("taints", [])]


@pytest.fixture(scope="module")
def production(features: Features, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The overlay production without what needs a mesh; it has two predictors."""
    with own_namespace(features, "mig", tmp_path_factory.mktemp("mig")) as installation:
        installation.create_secrets()
        installation.apply(Overlay("production", installation.namespace, swap=ABSENT, small=("transformer",)))
        yield installation


def _bound(installation: Installation) -> list[str]:
    return [name for each in installation.pods("predictor") if (name := each["spec"].get("nodeName"))]


@pytest.mark.slow
def test_predictors_go_to_slices_alone(production: Installation, figures: dict[str, Any]) -> None:
    eventually("a predictor that finds no node", lambda: unschedulable(production), 120.0)
    assert not _bound(production)
    other = {**LABELS, "nvidia.com/gpu.product": "NVIDIA-H200"}
    with played_node("yiwen-test-other", "zone-c", other):
        status = subprocess.run(
            [sys.executable, "-m", "cli", "rollout", "status", "yiwen", "-n", production.namespace, "--json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        (gpus,) = json.loads(status.stdout)["gpus"]
        assert (gpus["resource"], gpus["nodes_free"]) == (SLICE, 0)
        assert not _bound(production)
    with played_node("yiwen-test-a", "zone-a", LABELS), played_node("yiwen-test-b", "zone-b", LABELS):
        bound = eventually("bound predictors", lambda: _bound(production), 60.0)
        assert set(bound) <= {"yiwen-test-a", "yiwen-test-b"}
        quota = document("resourcequota", "gpu", "-n", production.namespace)["status"]
        figures |= {"bound": len(bound), "of_quota": quota["used"][f"requests.{SLICE}"]}
        assert int(quota["used"][f"requests.{SLICE}"]) == len(production.pods("predictor"))
