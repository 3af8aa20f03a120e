"""A Prometheus in a namespace of its own, which reads the predictors of one installation."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.cluster.installation import Installation
from tests.cluster.kubectl import kubectl

PORT = 9090
TARGETS = "predictors"
"""Service without an address of its own, whose name has an address for each ready predictor."""
LABELS = {"app.kubernetes.io/name": "prometheus"}


def url_of(namespace: str) -> str:
    """Where KEDA asks the Prometheus of a namespace."""
    return f"http://prometheus.{namespace}.svc:{PORT}"


def apply_prometheus(installation: Installation, watched: str, image: str) -> None:
    """Start it and wait until it is ready.

    Args:
        installation: of its namespace.
        watched: namespace of the predictors.
        image: of Prometheus.
    """
    items = [_targets(watched), _admission(watched, installation.namespace)]
    items += [_configuration(watched), _deployment(image), _service()]
    for item in items:
        item["metadata"].setdefault("namespace", installation.namespace)
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "deployment/prometheus", "-n", installation.namespace, "--timeout=120s",
            timeout_s=140)  # fmt: skip


def _configuration(watched: str) -> dict[str, Any]:
    names = {
        "names": [f"{TARGETS}.{watched}.svc.cluster.local"],
        "type": "A",
        "port": 8080,
        "refresh_interval": "2s",
    }
    job = {
        "job_name": "yiwen", "scrape_interval": "2s", "scrape_timeout": "2s", "dns_sd_configs": [names],
        "relabel_configs": [{"target_label": "namespace", "replacement": watched}],
    }  # fmt: skip
    text = yaml.safe_dump({"scrape_configs": [job]})
    return {**_head("v1", "ConfigMap", "prometheus"), "data": {"prometheus.yml": text}}


def _deployment(image: str) -> dict[str, Any]:
    container = {
        "name": "prometheus", "image": image, "imagePullPolicy": "IfNotPresent",
        "args": ["--config.file=/etc/yiwen/prometheus.yml", "--storage.tsdb.path=/data"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/yiwen"}, {"name": "data", "mountPath": "/data"},
        ],
    }  # fmt: skip
    volumes = [
        {"name": "configuration", "configMap": {"name": "prometheus"}},
        {"name": "data", "emptyDir": {}},
    ]
    pod = {
        "containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "fsGroup": 65534},
    }  # fmt: skip
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    return {**_head("apps/v1", "Deployment", "prometheus"), "spec": {
        "selector": {"matchLabels": LABELS}, "template": template}}  # fmt: skip


def _service() -> dict[str, Any]:
    return {**_head("v1", "Service", "prometheus"), "spec": {"selector": LABELS, "ports": [{"port": PORT}]}}


def _targets(watched: str) -> dict[str, Any]:
    head = _head("v1", "Service", TARGETS)
    head["metadata"]["namespace"] = watched
    selector = {"app.kubernetes.io/component": "predictor"}
    return {**head, "spec": {"clusterIP": "None", "selector": selector, "ports": [{"port": 8080}]}}


def _admission(watched: str, namespace: str) -> dict[str, Any]:
    """As the component monitoring admits the Prometheus of the namespace monitoring."""
    head = _head("networking.k8s.io/v1", "NetworkPolicy", "test-prometheus")
    head["metadata"]["namespace"] = watched
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    rule = {"from": [peer], "ports": [{"port": 8080}]}
    selector = {"matchLabels": {"app.kubernetes.io/component": "predictor"}}
    return {**head, "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [rule]}}


def _head(api: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}}
