"""Rules for resource limits, and for the nodes that pods with GPUs may run on.

Sources of labels: ``docs/gpu-feature-discovery`` of NVIDIA/k8s-device-plugin 1b826acc; states: gpu-operator a22dbf67.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from inferenceservices.resources import MIG_PREFIX, gpu_resources
from inferenceservices.rules.findings import PodRule, Violations
from protocol.kubernetes.documents import mapping, objects, strings
from protocol.kubernetes.pods import PodTemplate, limits, requests

TAINTS = {"nvidia.com": "nvidia.com/gpu", "amd.com": "amd.com/gpu"}
"""Key of the usual taint of GPU nodes, by vendor."""
PRODUCT = {"nvidia.com": "nvidia.com/gpu.product", "amd.com": "amd.com/gpu.product-name"}
"""Node label with the name of the GPU, by vendor."""
STRATEGY, STATE = "nvidia.com/mig.strategy", "nvidia.com/mig.config.state"


def resource_limits(pod: PodTemplate) -> Violations:
    """Every container has requests and limits of CPU, memory and ephemeral storage."""
    for container in pod.all_containers:
        for side, values in (("requests", requests(container)), ("limits", limits(container))):
            for resource in ("cpu", "memory", "ephemeral-storage"):
                if resource not in values:
                    yield f"{container.get('name')} must state {resource} in resources.{side}"


def gpu_toleration(pod: PodTemplate) -> Violations:
    """A pod with a GPU tolerates the taint of GPU nodes."""
    for vendor in sorted({resource.partition("/")[0] for resource in _gpus(pod)}):
        taint = TAINTS.get(vendor)
        if taint and not any(_tolerates(t, taint) for t in objects(pod.spec, "tolerations")):
            yield f"add a toleration of {taint}: GPU nodes are tainted with it"


def gpu_affinity(pod: PodTemplate) -> Violations:
    """A pod with a GPU requires a product: plans fit one product, and slices of one name differ between products."""
    for resource in sorted(_gpus(pod)):
        label = PRODUCT.get(resource.partition("/")[0])
        if label and not all(_names(term, label, "In") for term in _terms(pod)):
            yield f"require {label} with the operator In in nodeAffinity: {resource} is not the same on every GPU"


def mig_affinity(pod: PodTemplate) -> Violations:
    """A MIG slice comes from a node with strategy ``mixed`` whose partitioning has succeeded."""
    for resource in sorted(_gpus(pod)):
        if resource == "nvidia.com/gpu" and not all(_whole_gpus(term) for term in _terms(pod)):
            yield f"require {STRATEGY} NotIn [single] in nodeAffinity: there {resource} is a slice"
        if not resource.startswith(MIG_PREFIX):
            continue
        for term in _terms(pod):
            if _values(term, STRATEGY, "In") != ("mixed",):
                yield f"require {STRATEGY} In [mixed] in nodeAffinity: under single a slice has another name"
            if _values(term, STATE, "In") != ("success",):
                yield f"require {STATE} In [success] in nodeAffinity: other nodes are being partitioned"
            if not _names(term, f"{resource}.count", "Exists"):
                yield f"require {resource}.count Exists in nodeAffinity"


def _gpus(pod: PodTemplate) -> set[str]:
    return {resource for container in pod.all_containers for resource in gpu_resources(container)}


def _tolerates(toleration: Mapping[str, Any], taint: str) -> bool:
    exists = toleration.get("operator", "Equal") == "Exists"
    key = toleration.get("key")
    return (key == taint or (key is None and exists)) and toleration.get("effect") in (None, "NoSchedule")


def _terms(pod: PodTemplate) -> tuple[Mapping[str, Any], ...]:
    """Terms of the required node affinity; one empty term if there is none."""
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = objects(mapping(pod.spec, "affinity", "nodeAffinity", required), "nodeSelectorTerms")
    return terms or ({},)


def _expressions(term: Mapping[str, Any], label: str, operator: str) -> Iterator[Mapping[str, Any]]:
    for expression in objects(term, "matchExpressions"):
        if expression.get("key") == label and expression.get("operator") == operator:
            yield expression


def _names(term: Mapping[str, Any], label: str, operator: str) -> bool:
    return any(True for _ in _expressions(term, label, operator))


def _values(term: Mapping[str, Any], label: str, operator: str) -> tuple[str, ...]:
    return tuple(v for e in _expressions(term, label, operator) for v in strings(e.get("values")))


def _whole_gpus(term: Mapping[str, Any]) -> bool:
    mixed = {"mixed", "none"}
    named = _values(term, STRATEGY, "In")
    return "single" in _values(term, STRATEGY, "NotIn") or (bool(named) and set(named) <= mixed)


PODS: dict[str, PodRule] = {
    "resource-limits": resource_limits,
    "gpu-toleration": gpu_toleration,
    "gpu-affinity": gpu_affinity,
    "mig-affinity": mig_affinity,
}
