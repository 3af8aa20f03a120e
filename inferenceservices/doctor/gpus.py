"""Checks before applying: nodes for the pods, their GPUs, MIG slices, and quotas on these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from inferenceservices.doctor.diagnosis import Check, Diagnoses, Diagnosis
from inferenceservices.doctor.snapshot import ClusterSnapshot, labels_of, name_of
from inferenceservices.gpu_capacity import ClusterCapacity, gpu_availability, is_schedulable, pod_gpus
from inferenceservices.rules.hardware import STATE, STRATEGY
from protocol.kubernetes.documents import Document, mapping, objects
from protocol.kubernetes.inference_service import ServiceComponent
from protocol.kubernetes.pods import requests
from protocol.kubernetes.quantities import quantity_or_zero

GPU_LABELS = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", STRATEGY, STATE)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def no_gpu_node(snapshot: ClusterSnapshot) -> Diagnoses:
    """No node has the labels that the predictor's pods require, whatever the state of its partitioning."""
    for component in _gpu_components(snapshot):
        relaxed = _without(component.spec, STATE)
        if not any(is_schedulable(relaxed, node) for node in snapshot.of("nodes")):
            yield Diagnosis(
                component.pod.location,
                "no ready node has the labels, or admits the taints, that its pods require",
                _labels(snapshot),
                "choose the hardware component of the overlay that your GPUs have: kubectl get nodes -L "
                + ",".join(GPU_LABELS[:1] + GPU_LABELS[2:]),
            )


def mig_not_ready(snapshot: ClusterSnapshot) -> Diagnoses:
    """Nodes that would fit, but whose partitioning is under way or failed."""
    for component in _gpu_components(snapshot):
        relaxed = [n for n in snapshot.of("nodes") if is_schedulable(_without(component.spec, STATE), n)]
        if relaxed and not any(is_schedulable(component.spec, node) for node in relaxed):
            names = ", ".join(f"{name_of(n)} {labels_of(n).get(STATE, 'not set')}" for n in relaxed)
            yield Diagnosis(
                component.pod.location,
                "the partitioning of the GPUs has not succeeded",
                f"{STATE}: {names}",
                "kubectl -n gpu-operator logs -l app=nvidia-mig-manager",
            )


def no_slices(snapshot: ClusterSnapshot) -> Diagnoses:
    """Nodes with the right labels that offer none of the resource."""
    for component in _gpu_components(snapshot):
        nodes = [node for node in snapshot.of("nodes") if is_schedulable(component.spec, node)]
        for resource in pod_gpus(component.spec):
            if nodes and not any(_allocatable(node, resource) for node in nodes):
                there = sorted(
                    {k for node in nodes for k in mapping(node, "status", "allocatable") if "/" in k}
                )
                yield Diagnosis(
                    component.pod.location,
                    f"no node offers {resource}",
                    f"{', '.join(map(name_of, nodes))} offer {', '.join(there) or 'no GPU'}",
                    "kubectl label node NODE nvidia.com/mig.config=LAYOUT --overwrite (docs/guides/mig.md), "
                    "or see the device plugin: kubectl -n gpu-operator get pods",
                )


def gpus_taken(snapshot: ClusterSnapshot) -> Diagnoses:
    """Fewer free GPUs than the first pods need."""
    for location, gpus in _availability(snapshot):
        offered = any(_allocatable(node, gpus.resource) for node in snapshot.of("nodes"))
        if gpus.pending_error and offered and _any_fits(snapshot):
            yield Diagnosis(
                location,
                f"pods will wait: {gpus.needed} of {gpus.resource} are needed",
                f"{gpus.nodes_free} free on nodes that fit",
                "free GPUs (kubectl get pods -A -o wide shows who has them), or lower minReplicas in the overlay",
            )


def small_gpu_quota(snapshot: ClusterSnapshot) -> Diagnoses:
    """A quota that leaves fewer GPUs than the first pods need."""
    for location, gpus in _availability(snapshot):
        if gpus.quota_error:
            yield Diagnosis(
                location,
                f"the quota leaves too few of {gpus.resource}",
                f"ResourceQuota {gpus.quota} leaves {gpus.quota_remaining}, {gpus.needed} are needed",
                snapshot.fix(f"edit resourcequota {gpus.quota}"),
            )


def small_nodes(snapshot: ClusterSnapshot) -> Diagnoses:
    """No node is large enough for one pod's CPU or memory."""
    for component in snapshot.components:
        nodes = [
            node for node in snapshot.of("nodes") if is_schedulable(_without(component.spec, STATE), node)
        ]
        for resource in ("cpu", "memory"):
            asked = sum(quantity_or_zero(requests(c).get(resource, 0)) for c in component.pod.containers)
            sizes = {name_of(n): mapping(n, "status", "allocatable").get(resource, "0") for n in nodes}
            if nodes and all(quantity_or_zero(size) < asked for size in sizes.values()):
                evidence = ", ".join(f"{name} {size}" for name, size in sizes.items())
                yield Diagnosis(
                    component.pod.location,
                    f"no node that fits has the {resource} that one pod requests",
                    f"requested {asked}; allocatable: {evidence}",
                    f"lower resources.requests.{resource} in the overlay, or add larger nodes",
                )


def _availability(snapshot: ClusterSnapshot) -> Iterator[tuple[str, Any]]:
    quotas = None if "resourcequotas" in snapshot.unseen else snapshot.of("resourcequotas")
    hidden = "nodes" in snapshot.unseen or "all-pods" in snapshot.unseen
    nodes, pods = (None, None) if hidden else (snapshot.of("nodes"), snapshot.of("all-pods"))
    if snapshot.service:  # its present pods hold what this would count again
        return
    for service in snapshot.services:
        for gpus in gpu_availability(service, ClusterCapacity(quotas, nodes, pods)):
            component = service.component(gpus.component)
            yield (component.pod.location if component else gpus.component), gpus


def _any_fits(snapshot: ClusterSnapshot) -> bool:
    return any(
        is_schedulable(c.spec, node) for c in _gpu_components(snapshot) for node in snapshot.of("nodes")
    )


def _gpu_components(snapshot: ClusterSnapshot) -> Iterator[ServiceComponent]:
    return (component for component in snapshot.components if pod_gpus(component.spec))


def _allocatable(node: Document, resource: str) -> int:
    return int(quantity_or_zero(mapping(node, "status", "allocatable").get(resource, 0)))


def _labels(snapshot: ClusterSnapshot) -> str:
    nodes = []
    for node in snapshot.of("nodes"):
        labels = {key: value for key, value in labels_of(node).items() if key in GPU_LABELS}
        nodes.append(
            f"{name_of(node)}: {', '.join(f'{k}={v}' for k, v in labels.items()) or 'no GPU labels'}"
        )
    return "; ".join(nodes) or "there are no nodes"


def _without(spec: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    """A pod's spec whose required node affinity does not ask for ``label``."""
    affinity = mapping(spec, "affinity", "nodeAffinity", _REQUIRED)
    terms = [
        {"matchExpressions": [e for e in objects(term, "matchExpressions") if e.get("key") != label]}
        for term in objects(affinity, "nodeSelectorTerms")
    ]
    return {**spec, "affinity": {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": terms}}}}


CHECKS = (
    Check("gpu-node", "no node has the GPU labels that pods require", ("nodes",), no_gpu_node),
    Check("mig-state", "the partitioning into MIG slices has not succeeded", ("nodes",), mig_not_ready),
    Check("mig-profile", "no node offers slices of the profile", ("nodes",), no_slices),
    Check("gpu-taken", "too few GPUs are free", ("nodes", "all-pods"), gpus_taken),
    Check("gpu-quota", "a quota leaves too few GPUs", ("resourcequotas",), small_gpu_quota),
    Check("node-small", "no node has the CPU or memory of one pod", ("nodes",), small_nodes),
)
