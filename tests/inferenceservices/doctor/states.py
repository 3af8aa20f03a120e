"""Healthy states of a cluster and of a service, in the shape of ``kubectl get -o json``."""

from __future__ import annotations

import copy
from typing import Any

from inferenceservices.doctor.snapshot import ClusterSnapshot
from tests.inferenceservices.builds import documents_of

Json = dict[str, Any]
NAMESPACE = "yiwen"
SLICE = "nvidia.com/mig-1g.10gb"


HARDWARE = {
    "staging": ("NVIDIA-H200", "nvidia.com/mig-1g.18gb"),
    "runtime": ("NVIDIA-H200", "nvidia.com/mig-3g.71gb"),
    "standard": ("NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu"),
}
"""GPU and resource of the overlays that are not for seventh slices of an A100."""


def node(product: str = "NVIDIA-A100-SXM4-80GB", resource: str = SLICE, name: str = "gpu-1") -> Json:
    """A node with GPUs, as the GPU operator labels it."""
    return {
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "nvidia.com/gpu.present": "true",
                "nvidia.com/gpu.product": product,
                "nvidia.com/mig.config.state": "success",
                "nvidia.com/mig.strategy": "mixed",
                f"{resource}.count": "56",
            },
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"}]},
        "status": {
            "allocatable": {
                "cpu": "95",
                "memory": "1160Gi",
                "pods": "110",
                "nvidia.com/gpu": "0",
                resource: "56",
            },
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        },
    }


def cpu_node() -> Json:
    """A node without GPUs."""
    return {
        "metadata": {"name": "cpu-1", "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "16", "memory": "62Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        },
    }


def deployment(name: str, namespace: str, image: str) -> Json:
    """A controller's Deployment."""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {}},
        "spec": {"template": {"spec": {"containers": [{"name": "manager", "image": image}]}}},
        "status": {"readyReplicas": 1},
    }


def before(overlay: str = "production") -> Json:
    """A cluster that is ready for an overlay: fields of a ClusterSnapshot, for the caller to change."""
    manifests = documents_of(f"overlays/{overlay}")
    for document in manifests:  # as the guide says: the registry is the site's own
        _replace_images(document)
    return {
        "namespace": NAMESPACE,
        "manifests": manifests,
        "objects": {
            "kinds": _kinds(manifests),
            "deployments": [
                deployment("kserve-controller-manager", "kserve", "kserve/kserve-controller:v0.20.0"),
                deployment("controller", "knative-serving", "gcr.io/knative-releases/controller@sha256:12"),
                deployment("keda-operator", "keda", "ghcr.io/kedacore/keda:2.20.0"),
                deployment("istiod", "istio-system", "docker.io/istio/pilot:1.28.1"),
            ],
            "configmaps": documents_of("../knative"),
            "namespaces": [
                {"metadata": {"name": NAMESPACE, "labels": {"kubernetes.io/metadata.name": NAMESPACE}}}
            ],
            "prometheuses": [{"metadata": {"name": "k8s"}, "spec": {"podMonitorSelector": {}}}],
            "storageclasses": [
                {
                    "metadata": {
                        "name": "shared",
                        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                    },
                    "provisioner": "efs.csi.aws.com",
                    "volumeBindingMode": "Immediate",
                }
            ],
            "persistentvolumes": [],
            "persistentvolumeclaims": [],
            "secrets": [{"metadata": {"name": name}} for name in ("yiwen-redis", "yiwen-redis-tls")],
            "dns-pods": [{"metadata": {"name": "coredns-1", "labels": {"k8s-app": "kube-dns"}}}],
            "resourcequotas": [],
            "nodes": [node(*HARDWARE.get(overlay, ())), cpu_node()],
            "all-pods": [],
        },
    }


def pod(component: str, number: int = 1, release: str = "qwen3-1-7b") -> Json:
    """A pod that is ready."""
    name = f"yiwen-{component}-00001-deployment-{number}"
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {
                "serving.kserve.io/inferenceservice": "yiwen",
                "component": component,
                "serving.knative.dev/revision": f"yiwen-{component}-00001",
            },
        },
        "spec": {
            "nodeName": "gpu-1" if component == "predictor" else "cpu-1",
            "containers": [
                {
                    "name": "kserve-container",
                    "image": f"ghcr.io/yiwen/{component}:0.1.0",
                    "env": [{"name": "YIWEN_RELEASE", "value": f"/mnt/models/releases/{release}"}],
                    "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
                }
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "ContainersReady", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "containerStatuses": [
                {
                    "name": "kserve-container",
                    "image": f"ghcr.io/yiwen/{component}:0.1.0",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-11-28T10:00:00Z"}},
                    "lastState": {},
                }
            ],
        },
    }


PREDICTOR_METRICS = """\
# TYPE yiwen_build_info gauge
yiwen_build_info{version="0.1.0",revision="70dc1ad",release="a1b2c3d4e5f60718"} 1.0
# TYPE yiwen_predictor_slots gauge
yiwen_predictor_slots 16.0
# TYPE yiwen_predictor_slots_used gauge
yiwen_predictor_slots_used 5.0
# TYPE yiwen_predictor_waiting_sequences gauge
yiwen_predictor_waiting_sequences 0.0
# TYPE yiwen_predictor_healthy gauge
yiwen_predictor_healthy 1.0
# TYPE yiwen_predictor_queue_seconds histogram
yiwen_predictor_queue_seconds_bucket{le="+Inf"} 400.0
yiwen_predictor_queue_seconds_count 400.0
yiwen_predictor_queue_seconds_sum 9.0
# TYPE yiwen_predictor_step_failures_total counter
yiwen_predictor_step_failures_total 0.0
# TYPE yiwen_predictor_runner_info gauge
yiwen_predictor_runner_info{backend="tensorrt",plan="sm80-14",precision="float16",reason="named by YIWEN_BACKEND"} 1.0
"""
TRANSFORMER_METRICS = """\
# TYPE yiwen_build_info gauge
yiwen_build_info{version="0.1.0",revision="70dc1ad",release="a1b2c3d4e5f60718"} 1.0
# TYPE yiwen_requests_total counter
yiwen_requests_total{status="200",code="ok"} 900.0
# TYPE yiwen_requests_rejected_total counter
yiwen_requests_rejected_total{status="429",code="pool_busy"} 0.0
yiwen_requests_rejected_total{status="400",code="bad_request"} 40.0
# TYPE yiwen_transformer_cache_lookups_total counter
yiwen_transformer_cache_lookups_total{result="hit"} 800.0
yiwen_transformer_cache_lookups_total{result="miss"} 400.0
# TYPE yiwen_transformer_redis_circuit gauge
yiwen_transformer_redis_circuit 0.0
# TYPE yiwen_transformer_redis_errors_total counter
yiwen_transformer_redis_errors_total{operation="read",kind="timeout"} 0.0
# TYPE yiwen_transformer_cold_start_waiters gauge
yiwen_transformer_cold_start_waiters 0.0
# TYPE yiwen_transformer_cold_start_wait_seconds histogram
yiwen_transformer_cold_start_wait_seconds_bucket{le="+Inf"} 3.0
yiwen_transformer_cold_start_wait_seconds_count 3.0
yiwen_transformer_cold_start_wait_seconds_sum 12.0
# TYPE yiwen_transformer_predictor_found gauge
yiwen_transformer_predictor_found 1.0
"""


def after() -> Json:
    """A service that is ready and quick: fields of a ClusterSnapshot, for the caller to change."""
    (service,) = (d for d in documents_of("overlays/production") if d["kind"] == "InferenceService")
    service["metadata"] |= {"generation": 3}
    service["status"] = {
        "observedGeneration": 3,
        "conditions": [
            {"type": kind, "status": "True"}
            for component in ("Predictor", "Transformer")
            for kind in (f"{component}ConfigurationReady", f"{component}RouteReady", f"{component}Ready")
        ],
    }
    return {
        "namespace": NAMESPACE,
        "objects": {
            "inferenceservices": [service],
            "pods": [pod("predictor"), pod("predictor", 2), pod("transformer"), pod("transformer", 2)],
            "events": [],
            "nodes": [node(), cpu_node()],
            "scaledobjects": [],
            "podautoscalers": [
                {
                    "metadata": {
                        "name": "yiwen-predictor-00001",
                        "annotations": {"autoscaling.knative.dev/max-scale": "7"},
                    },
                    "status": {"desiredScale": 2, "actualScale": 2},
                }
            ],
        },
        "logs": {},
        "metrics": {
            "predictor/yiwen-predictor-1": PREDICTOR_METRICS,
            "transformer/yiwen-transformer-1": TRANSFORMER_METRICS,
        },
    }


def snapshot(state: Json) -> ClusterSnapshot:
    """The ClusterSnapshot of a state."""
    fields = copy.deepcopy(state)
    fields["objects"] = {resource: tuple(found) for resource, found in fields["objects"].items()}
    fields["manifests"] = tuple(fields.get("manifests", ()))
    return ClusterSnapshot(**fields)


def _replace_images(value: object) -> None:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "image" and isinstance(entry, str):
                value[key] = entry.replace("registry.example.com/", "ghcr.io/")
            _replace_images(entry)
    elif isinstance(value, list):
        for entry in value:
            _replace_images(entry)


def _kinds(manifests: list[Json]) -> list[Json]:
    kinds: dict[tuple[str, str], list[str]] = {("serving.knative.dev", "v1"): ["Service"]}
    for document in manifests:
        group, _, version = document["apiVersion"].rpartition("/")
        kinds.setdefault((group, version), []).append(document["kind"])
    return [{"group": group, "version": version, "kinds": names} for (group, version), names in kinds.items()]
