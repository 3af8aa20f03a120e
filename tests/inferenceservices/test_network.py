"""The connections that the built NetworkPolicies allow."""

from __future__ import annotations

from typing import Any

import pytest

from inferenceservices.selectors import selects
from tests.inferenceservices.builds import documents_of
from tests.inferenceservices.network_policies import Peer, may_connect


def _ours(component: str, namespace: str = "yiwen", **labels: str) -> Peer:
    return Peer(
        namespace,
        {"app.kubernetes.io/part-of": "yiwen", "app.kubernetes.io/component": component, **labels},
    )


TRANSFORMER, PREDICTOR, REDIS, RELEASE = (
    _ours(name) for name in ("transformer", "predictor", "redis", "release")
)
MESHED = {"sidecar.istio.io/inject": "true"}
ACTIVATOR = Peer("knative-serving", {"app": "activator"})
AUTOSCALER = Peer("knative-serving", {"app": "autoscaler"})
WEBHOOK = Peer("knative-serving", {"app": "webhook"})
ISTIO = Peer("istio-system", {"istio": "ingressgateway"})
ISTIOD = Peer("istio-system", {"app": "istiod"})
KOURIER = Peer("kourier-system", {"app": "3scale-kourier-gateway"})
ENVOY = Peer("envoy-gateway-system", {})
KSERVE_GATEWAY = Peer("kserve", {"gateway.networking.k8s.io/gateway-name": "kserve-ingress-gateway"})
PROMETHEUS = Peer("monitoring", {"app.kubernetes.io/name": "prometheus"})
GRAFANA = Peer("monitoring", {"app.kubernetes.io/name": "grafana"})
DNS = Peer("kube-system", {"k8s-app": "kube-dns"})
NEIGHBOUR = Peer("yiwen", {"app": "something"})
STRANGER = Peer("default", {"app.kubernetes.io/component": "transformer"})
INTERNET, INTRANET = Peer(address="93.184.216.34"), Peer(address="10.1.2.3")
CLIENTS = {
    "transformer": TRANSFORMER,
    "predictor": PREDICTOR,
    "redis": REDIS,
    "activator": ACTIVATOR,
    "autoscaler": AUTOSCALER,
    "knative webhook": WEBHOOK,
    "istio gateway": ISTIO,
    "kourier": KOURIER,
    "istiod": ISTIOD,
    "envoy gateway": ENVOY,
    "kserve gateway": KSERVE_GATEWAY,
    "kserve controller": Peer("kserve", {"control-plane": "kserve-controller-manager"}),
    "prometheus": PROMETHEUS,
    "grafana": GRAFANA,
    "neighbour": NEIGHBOUR,
    "stranger": STRANGER,
    "internet": INTERNET,
    "intranet": INTRANET,
}
PORTS = (22, 443, 6379, 8012, 8013, 8022, 8080, 8081, 9090, 9091, 9121)

_GATES = ("activator", "istio gateway", "kourier")
KNATIVE = {
    *((gate, pod, port) for gate in _GATES for pod in ("predictor", "transformer") for port in (8012, 8013)),
    *(("autoscaler", pod, 9090) for pod in ("predictor", "transformer")),
    *(("prometheus", pod, 8080) for pod in ("predictor", "transformer")),
    ("transformer", "redis", 6379),
    ("transformer", "predictor", 8012),
    ("prometheus", "redis", 9121),
}
STANDARD = {
    *(
        (gate, "transformer", port)
        for gate in ("istio gateway", "envoy gateway", "kserve gateway")
        for port in (8080, 8081)
    ),
    *(("prometheus", pod, 8080) for pod in ("predictor", "transformer")),
    ("transformer", "predictor", 8080),
    ("transformer", "redis", 6379),
    ("prometheus", "redis", 9121),
}
MESH = {*KNATIVE, ("transformer", "predictor", 8013)}
BARE = {entry for entry in KNATIVE if entry[0] != "prometheus" and entry[1] != "redis"}


def _into(documents: list[dict[str, Any]], namespace: str) -> set[tuple[str, str, int]]:
    targets = {"predictor": PREDICTOR, "transformer": TRANSFORMER, "redis": REDIS}
    move = {name: Peer(namespace, peer.labels) for name, peer in {**targets, "neighbour": NEIGHBOUR}.items()}
    clients = {**CLIENTS, **move}
    return {
        (client, target, port)
        for client, source in clients.items()
        for target in targets
        for port in PORTS
        if may_connect(documents, source, clients[target], port)
    }


@pytest.mark.parametrize(
    ("overlay", "namespace", "expected"),
    [
        ("laptop", "yiwen", BARE),
        ("staging", "yiwen-staging", KNATIVE),
        ("production", "yiwen", MESH),
        ("standard", "yiwen", STANDARD),
    ],
)
def test_allowed_connections_are_exactly_these(
    overlay: str, namespace: str, expected: set[tuple[str, str, int]]
) -> None:
    assert _into(documents_of(f"overlays/{overlay}"), namespace) == expected


OUT_OF = {
    "laptop": {("transformer", "istio gateway", 8081), ("transformer", "kourier", 8081)},
    "production": {("transformer", "istio gateway", 8081), ("transformer", "kourier", 8081)},
    "standard": set(),
}


@pytest.mark.parametrize("overlay", OUT_OF)
def test_connections_out_of_the_namespace(overlay: str) -> None:
    documents = documents_of(f"overlays/{overlay}")
    outside = {name: peer for name, peer in CLIENTS.items() if peer.namespace != "yiwen"}
    found = {
        (source, target, port)
        for source in ("predictor", "transformer", "redis")
        for target in outside
        for port in (*PORTS, 80, 15012)
        if may_connect(documents, CLIENTS[source], outside[target], port)
    }
    assert found == OUT_OF[overlay]


def test_only_sidecars_reach_istiod() -> None:
    documents = documents_of("overlays/production")
    assert may_connect(documents, _ours("predictor", **MESHED), ISTIOD, 15012)
    assert not may_connect(documents, _ours("predictor"), ISTIOD, 15012)


@pytest.mark.parametrize(
    "source", [TRANSFORMER, PREDICTOR, NEIGHBOUR], ids=["transformer", "predictor", "neighbour"]
)
@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_every_pod_may_use_dns(source: Peer, protocol: str) -> None:
    documents = documents_of("overlays/laptop")
    assert may_connect(documents, source, DNS, 53, protocol)
    assert not may_connect(documents, source, Peer("kube-system", {"k8s-app": "other"}), 53, protocol)


@pytest.mark.parametrize("overlay", ["laptop", "production", "staging", "standard"])
def test_the_release_job_may_use_https_alone(overlay: str) -> None:
    documents = documents_of(f"release-jobs/{overlay}")
    job = Peer("yiwen-staging" if overlay == "staging" else "yiwen", RELEASE.labels)
    reached = {
        (name, port)
        for name, peer in {**CLIENTS, "dns": DNS}.items()
        for port in (*PORTS, 53, 80)
        if may_connect(documents, job, peer, port)
    }
    assert reached == {("internet", 443), ("dns", 53)}
    assert not any(may_connect(documents, peer, job, port) for peer in CLIENTS.values() for port in PORTS)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchLabels": {"a": "1", "b": "1"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Like"}]}, False),
    ],
)
def test_selectors(selector: dict[str, Any], matches: bool) -> None:
    assert selects(selector, {"a": "1"}) is matches


def test_named_ports_and_ranges_are_not_supported() -> None:
    policy = {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "yiwen"},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]},
    }
    with pytest.raises(ValueError, match="by its number"):
        may_connect([policy], STRANGER, PREDICTOR, 8080)


def test_without_policies_every_connection_is_allowed() -> None:
    assert may_connect([], STRANGER, PREDICTOR, 22)


def test_a_policy_without_types_is_for_ingress_and_for_egress_if_it_has_any() -> None:
    policy: dict[str, Any] = {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "yiwen"},
        "spec": {"podSelector": {}},
    }
    assert not may_connect([policy], STRANGER, PREDICTOR, 80)
    assert may_connect([policy], PREDICTOR, STRANGER, 80)
    policy["spec"]["egress"] = []
    assert may_connect([policy], PREDICTOR, STRANGER, 80)  # an empty list says nothing without policyTypes


def test_addresses_inside_and_outside_of_a_block() -> None:
    block = {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}
    policy = {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "yiwen"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": block}]}]},
    }
    assert may_connect([policy], PREDICTOR, INTERNET, 443)
    assert not may_connect([policy], PREDICTOR, INTRANET, 443)
    assert not may_connect([policy], PREDICTOR, STRANGER, 443)
