"""What the cluster has: read once, and by it tests are left out with a reason."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from tests.cluster.kubectl import KubectlError, document, documents, kubectl

INGRESS_VARIABLE = "CLUSTER_INGRESS"
GATEWAY_VARIABLE = "CLUSTER_GATEWAY"
HOST_PATH_VARIABLE = "CLUSTER_HOST_PATH"
PROMETHEUS_VARIABLE = "CLUSTER_PROMETHEUS"
INGRESSES = (("kourier-system", "kourier"), ("istio-system", "istio-ingressgateway"))
"""Services of Knative's usual ingress gateways: namespace and name."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
GROUPS = {
    "KServe": "inferenceservices.serving.kserve.io",
    "Knative": "services.serving.knative.dev",
    "KEDA": "scaledobjects.keda.sh",
    "Gateway API": "httproutes.gateway.networking.k8s.io",
    "Prometheus Operator": "podmonitors.monitoring.coreos.com",
    "Istio": "virtualservices.networking.istio.io",
}
"""CustomResourceDefinition that shows that a program is installed."""


@dataclass(frozen=True)
class Features:
    """Of one cluster."""

    versions: dict[str, str]
    """Of what is there, by name."""
    missing: dict[str, str]
    """Why something is not there, or cannot be used, by name."""
    ingress: str = ""
    """URL at which Knative's ingress gateway listens; requests name their service in the header Host."""
    gateway: str = ""
    """The same of KServe's Gateway, for Standard mode."""
    host_path: str = ""
    """Directory of the node that volumes are made on; empty: the default StorageClass makes them."""
    prometheus: str = ""
    """Image of Prometheus, whose entry point takes its options."""

    def has(self, *names: str) -> bool:
        return not any(name in self.missing for name in names)

    def lines(self) -> list[str]:
        """For people."""
        there = ", ".join(f"{name} {version}".strip() for name, version in self.versions.items())
        return [f"cluster: {there}", *(f"cluster: no {name}: {why}" for name, why in self.missing.items())]


def read_features() -> Features:
    """Ask the cluster of the kubeconfig.

    Raises:
        KubectlError: it does not answer.
    """
    server = json.loads(kubectl("version", "-o", "json"))["serverVersion"]
    versions, missing = {"Kubernetes": str(server["gitVersion"])}, {}
    installed = {each["metadata"]["name"]: each for each in documents("crd")}
    for name, crd in GROUPS.items():
        if crd in installed:
            labels = installed[crd]["metadata"].get("labels", {})
            annotations = installed[crd]["metadata"].get("annotations", {})
            versions[name] = str(
                labels.get("app.kubernetes.io/version")
                or annotations.get("gateway.networking.k8s.io/bundle-version", "")
            )
        else:
            missing[name] = f"the cluster has no {crd}"
    ingress, gateway = _ingress(), _gateway() if "Gateway API" in versions else ""
    if not ingress and "Knative" in versions:
        missing["Knative ingress"] = f"no LoadBalancer address: set {INGRESS_VARIABLE} to http://HOST:PORT"
    if not gateway:
        missing["Gateway"] = f"KServe's Gateway has no address: set {GATEWAY_VARIABLE} to http://HOST:PORT"
    prometheus = os.environ.get(PROMETHEUS_VARIABLE, "")
    if not prometheus:
        missing["Prometheus"] = (
            f"set {PROMETHEUS_VARIABLE} to an image of it that the nodes have, or may pull"
        )
    host_path = os.environ.get(HOST_PATH_VARIABLE, "")
    if not host_path and not _default_storage_class():
        missing["volumes"] = (
            f"no default StorageClass: set {HOST_PATH_VARIABLE} to a directory of the node that belongs to user 10001"
        )
    return Features(versions, missing, ingress, gateway, host_path, prometheus)


def _default_storage_class() -> bool:
    found = documents("storageclass")
    return any(each["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true" for each in found)


def _ingress() -> str:
    if given := os.environ.get(INGRESS_VARIABLE):
        return given.rstrip("/")
    for namespace, name in INGRESSES:
        try:
            service = document("service", name, "-n", namespace)
        except KubectlError:
            continue
        for address in service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
            return f"http://{address.get('ip') or address.get('hostname')}"
    return ""


def _gateway() -> str:
    if given := os.environ.get(GATEWAY_VARIABLE):
        return given.rstrip("/")
    try:
        gateway = document("gateway", "kserve-ingress-gateway", "-n", "kserve")
    except KubectlError:
        return ""
    found = gateway.get("status", {}).get("addresses", [])
    return f"http://{found[0]['value']}" if found else ""
