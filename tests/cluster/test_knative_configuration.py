"""``scripts/configure-knative`` changes what it names and keeps the rest, however Knative was installed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.features import Features
from tests.cluster.installation import own_namespace
from tests.cluster.knative_configuration import configure_knative
from tests.cluster.kubectl import document, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

INSTALLATIONS = {
    "client-side": ("apply",),
    "server-side": ("apply", "--server-side"),
    "server-side, other manager": ("apply", "--server-side", "--field-manager=installer"),
}


@pytest.fixture(scope="module")
def namespace(features: Features, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_namespace(features, "config", tmp_path_factory.mktemp("config")) as installation:
        yield installation.namespace


@pytest.mark.parametrize("how", INSTALLATIONS)
def test_keys_of_the_installation_stay(namespace: str, how: str) -> None:
    installed = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-deployment", "namespace": namespace},
        "data": {"queue-sidecar-image": "example.com/queue:1", "queue-sidecar-cpu-request": "25m"},
    }
    kubectl(*INSTALLATIONS[how], "-f", "-", stdin=json.dumps(installed))
    for name in ("features", "autoscaler", "defaults"):
        kubectl("create", "configmap", f"config-{name}", "-n", namespace)
    configure_knative(namespace)
    data = document("configmap", "config-deployment", "-n", namespace)["data"]
    assert data["queue-sidecar-image"] == "example.com/queue:1"
    assert data["queue-sidecar-cpu-request"] == "100m"
    for name in ("deployment", "features", "autoscaler", "defaults"):
        kubectl("delete", "configmap", f"config-{name}", "-n", namespace)


def test_the_cluster_itself_is_configured_twice(features: Features) -> None:
    before = document("configmap", "config-deployment", "-n", "knative-serving")["data"]
    configure_knative()
    after = document("configmap", "config-deployment", "-n", "knative-serving")["data"]
    assert after == before
