"""Other overlays and components: the verify step, a ServingRuntime with ``pvc://``, an edge node, NetworkPolicies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from tests.cluster.features import Features
from tests.cluster.installation import SPOILED, Site, own_namespace, run_pod, unschedulable
from tests.cluster.kubectl import KubectlError, eventually, kubectl
from tests.cluster.load import Summary
from tests.cluster.node import a_node
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

EDGE_LABEL = "node-role.kubernetes.io/edge"
_FLIP = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(1_000_000)
    byte = file.read(1)[0]
    file.seek(1_000_000)
    file.write(bytes([byte ^ 16]))
"""


def flip_a_bit(site: Site, release: str) -> None:
    """Of the release's weights; twice is not at all."""
    path = f"/mnt/models/releases/{release}/weights.bin"
    site.installation.on_volume("python", "-c", _FLIP, path)


@contextmanager
def flipped(site: Site, release: str) -> Iterator[None]:
    flip_a_bit(site, release)
    try:
        yield
    finally:
        flip_a_bit(site, release)


def _messages(site: Site, container: str) -> str:
    """Logs of a predictor's container, where it has ended."""
    words: list[str] = []
    for pod in site.installation.pods("predictor"):
        status = pod["status"]
        for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            ended = each["state"].get("terminated") or each.get("lastState", {}).get("terminated")
            if each["name"] == container and ended:
                name, namespace = pod["metadata"]["name"], site.installation.namespace
                words.append(kubectl("logs", name, "-c", container, "-n", namespace))
    return "\n".join(words)


@pytest.mark.parametrize(
    ("extra", "container"),
    [
        pytest.param(("redis",), "kserve-container", marks=pytest.mark.slow, id="start"),
        pytest.param(("redis", "verify"), "verify", id="verify step"),
    ],
)
def test_a_flipped_bit_is_refused(
    knative: Site, extra: tuple[str, ...], container: str, figures: dict[str, Any]
) -> None:
    site = knative.with_overlay(extra=extra)
    knative.require_release(SPOILED)
    with flipped(knative, SPOILED):
        site.serve(SPOILED)
        try:
            began = time.monotonic()
            eventually("the reason", lambda: "weights.bin" in _messages(site, container), 180.0)
            figures["refused_after_s"] = round(time.monotonic() - began)
            assert not site.installation.ready_pods("predictor")
        finally:
            site.stop()


@pytest.mark.slow
def test_an_edge_node_serves_one_replica(knative: Site, features: Features, figures: dict[str, Any]) -> None:
    node = a_node()
    site = knative.with_overlay(swap={"knative": "edge"}, extra=())
    site.serve("a")
    try:
        eventually("a pod that finds no node", lambda: unschedulable(site.installation), 120.0)
        kubectl("label", "node", node, f"{EDGE_LABEL}=")
        figures["ready_after_s"] = round(site.installation.wait_ready())
        (pod,) = eventually("a transformer", lambda: site.installation.ready_pods("transformer"), 120.0)
        text, expected = next(titles(f"edge-{time.time()}"))
        assert site.ask_pod(pod, text)["translation"] == expected
    finally:
        kubectl("label", "node", node, f"{EDGE_LABEL}-")
        site.stop()


@pytest.mark.slow
def test_a_serving_runtime_mounts_the_release(knative: Site, figures: dict[str, Any]) -> None:
    swap = {"mig-h200-3g71gb": "cpu", "storage-rwx": "storage-rwo"}
    knative.require_release("a")  # by the overlay laptop, which has a Job
    site = knative.with_overlay(name="runtime", swap=swap, extra=(), small=("predictor", "transformer"))
    site.serve("a")
    try:
        figures["ready_after_s"] = round(site.installation.wait_ready())
        answers = site.service.translate_all(list(islice(titles(f"runtime-{time.time()}"), 5)))
        Summary(answers).assert_whole()
    finally:
        site.stop()
        kubectl("delete", "servingruntime", "--all", "-n", knative.installation.namespace)


@pytest.mark.slow
def test_network_policies_are_there_and_enforced_where_the_cluster_enforces(
    knative: Site, features: Features, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with knative.serving():
        found = {each["metadata"]["name"] for each in knative.installation.objects("networkpolicies")}
        assert {"default-deny", "dns", "knative-ingress", "redis-ingress"} <= found
        with own_namespace(features, "stranger", tmp_path_factory.mktemp("stranger")) as stranger:
            if not _enforces(stranger.namespace):
                pytest.skip("the cluster accepts NetworkPolicies and does not enforce them")
            (redis,) = knative.installation.pods("redis")
            assert not _can_connect(stranger.namespace, redis["status"]["podIP"], 6379)


def _enforces(namespace: str) -> bool:
    """Whether a policy that forbids all keeps a connection off that was there before it."""
    server = run_pod(namespace, "server", "python", "-m", "http.server", "8000")
    run_pod(namespace, "client", "sleep", "86400")
    address = server["status"]["podIP"]
    eventually("a connection", lambda: _can_connect(namespace, address, 8000), 30.0)
    policy = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(policy))
    time.sleep(10.0)  # plugins need a moment
    return not _can_connect(namespace, address, 8000)


def _can_connect(namespace: str, address: str, port: int) -> bool:
    """Whether the pod ``client`` gets a TCP connection."""
    script = f"import socket; socket.create_connection(({address!r}, {port}), timeout=3)"
    try:
        kubectl("exec", "-n", namespace, "client", "--", "python", "-c", script)
    except KubectlError:
        return False
    return True
