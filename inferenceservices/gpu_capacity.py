"""GPUs for the pods of a new revision: what ResourceQuotas allow, and what nodes have free.

Until a canary is promoted or rolled back both revisions keep their pods, so a canary needs GPUs in addition to those
in use. Quotas count requests (Kubernetes allows no other prefix for extended resources); a node's free GPUs are its
allocatable ones less what its pods request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inferenceservices.resources import gpu_resources, is_gpu
from inferenceservices.rollout_state import RolloutRefused
from inferenceservices.selectors import selects
from protocol.kubernetes.documents import Document, mapping, objects, string_map, strings
from protocol.kubernetes.inference_service import InferenceService, ServiceComponent
from protocol.kubernetes.pods import limits, requests
from protocol.kubernetes.quantities import quantity_or_zero

INITIAL_SCALE = "autoscaling.knative.dev/initial-scale"
_OUR_SCOPES = frozenset({"NotTerminating", "NotBestEffort"})
"""Scopes of a quota that match every pod of these services."""
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """Quotas, nodes and pods of a cluster; None where the caller may not list them: then nothing is refused."""

    quotas: tuple[Document, ...] | None
    """ResourceQuotas of the namespace."""
    nodes: tuple[Document, ...] | None
    pods: tuple[Document, ...] | None
    """Of all namespaces."""


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The pods that a new revision of one component starts with, and their GPUs."""

    component: ServiceComponent
    pods: int
    gpus: Mapping[str, int]
    """GPU resources of one pod."""


@dataclass(frozen=True, slots=True)
class GpuAvailability:
    """Availability of one GPU resource for a component; None where there is no quota or no right to list."""

    component: str
    resource: str
    needed: int
    quota: str
    """Name of the ResourceQuota that leaves the fewest."""
    quota_remaining: int | None
    nodes_free: int | None
    """Free GPUs on nodes where the pods can be scheduled, counted in whole pods."""

    @property
    def quota_error(self) -> str:
        """Error message if the quota is too small; otherwise empty."""
        if self.quota_remaining is None or self.quota_remaining >= self.needed:
            return ""
        return (
            f"ResourceQuota {self.quota} leaves {self.quota_remaining} of {self.resource}, and a new revision of "
            f"the {self.component} needs {self.needed} beside those in use: raise requests.{self.resource} by "
            f"{self.needed - self.quota_remaining}, or lower minReplicas first"
        )

    @property
    def pending_error(self) -> str:
        """Error message if pods would stay pending; otherwise empty."""
        if self.nodes_free is None or self.nodes_free >= self.needed:
            return ""
        return (
            f"nodes that fit the {self.component} have {self.nodes_free} of {self.resource} free for it, and a new "
            f"revision needs {self.needed}: add slices or lower minReplicas, or pass --allow-pending where a node "
            "autoscaler adds nodes"
        )


def gpu_availability(service: InferenceService, capacity: ClusterCapacity) -> tuple[GpuAvailability, ...]:
    """Availability of every GPU resource that a new revision of ``service`` needs.

    What one component needs is subtracted for the next one, as if they shared their nodes.
    """
    found = []
    taken = Counter[str]()
    for request in gpu_requests(service):
        fitting = _schedulable_pods(request, capacity)
        for resource, each in sorted(request.gpus.items()):
            quota, rest = _tightest_quota(resource, capacity)
            needed = request.pods * each
            found.append(
                GpuAvailability(
                    component=request.component.name,
                    resource=resource,
                    needed=needed,
                    quota=quota,
                    quota_remaining=None if rest is None else max(0, rest - taken[resource]),
                    nodes_free=None if fitting is None else max(0, fitting * each - taken[resource]),
                )
            )
            taken[resource] += needed
    return tuple(found)


def check_gpu_availability(
    service: InferenceService, capacity: ClusterCapacity, *, allow_pending: bool
) -> tuple[str, ...]:
    """Refuse a revision whose pods could not start; returns warnings about what could not be checked.

    Args:
        service: as it will be after the change, with the ServingRuntime that it names.
        capacity: of the cluster.
        allow_pending: whether pods may wait for a node.

    Raises:
        RolloutRefused: a quota or the nodes leave too few GPUs.
    """
    gpus = gpu_availability(service, capacity)
    errors = [each.quota_error for each in gpus] + [each.pending_error for each in gpus if not allow_pending]
    if found := [error for error in errors if error]:
        raise RolloutRefused("; ".join(found))
    notes = []
    if gpus and capacity.quotas is None:
        notes.append(
            "no right to list ResourceQuotas: that they leave room for both revisions was not checked"
        )
    if gpus and (capacity.nodes is None or capacity.pods is None):
        notes.append("no right to list nodes and pods: that devices are free was not checked")
    if any(
        "model" in component.declared and "containers" not in component.spec
        for component in service.components
    ):
        notes.append("the predictor's ServingRuntime could not be read: its devices are not known")
    return tuple(notes)


def gpu_requests(service: InferenceService) -> tuple[GpuRequest, ...]:
    """The components that use GPUs, with the number of pods that their next revision starts with.

    Knative starts the larger of min-scale and initial-scale (1 unless the cluster says otherwise).
    """
    found = []
    for component in service.components:
        fewest = component.declared.get("minReplicas", 1)
        initial = component.annotations.get(INITIAL_SCALE, "1")
        pods = max(fewest if isinstance(fewest, int) else 1, int(initial) if initial.isdecimal() else 1)
        gpus = pod_gpus(component.spec)
        if gpus and pods:
            found.append(GpuRequest(component, pods, gpus))
    return tuple(found)


def pod_gpus(spec: Mapping[str, Any]) -> dict[str, int]:
    """GPU resources of a pod: the sum over its containers, or the maximum of an init container if that is more."""
    together = Counter[str]()
    for container in objects(spec, "containers"):
        together.update(_devices(container))
    for container in objects(spec, "initContainers"):
        together |= Counter(_devices(container))
    return {resource: number for resource, number in together.items() if number}


def _devices(container: Mapping[str, Any]) -> dict[str, int]:
    asked = {**limits(container), **requests(container)}
    return {resource: int(quantity_or_zero(asked[resource])) for resource in gpu_resources(container)}


def _tightest_quota(resource: str, capacity: ClusterCapacity) -> tuple[str, int | None]:
    rests = []
    for quota in capacity.quotas or ():
        hard = mapping(quota, "spec", "hard").get(f"requests.{resource}")
        if hard is not None and _matches_our_pods(quota):
            used = mapping(quota, "status", "used").get(f"requests.{resource}", 0)
            rest = int(quantity_or_zero(hard) - quantity_or_zero(used))
            rests.append((rest, str(mapping(quota, "metadata").get("name"))))
    if not rests:
        return "", None
    rest, name = min(rests)
    return name, rest


def _matches_our_pods(quota: Document) -> bool:
    spec = mapping(quota, "spec")
    return not spec.get("scopeSelector") and set(strings(spec.get("scopes"))) <= _OUR_SCOPES


def _schedulable_pods(request: GpuRequest, capacity: ClusterCapacity) -> int | None:
    if capacity.nodes is None or capacity.pods is None:
        return None
    used = _used_by_node(capacity.pods)
    fitting = 0
    for node in capacity.nodes:
        if is_schedulable(request.component.spec, node):
            free = _allocatable(node)
            free.subtract(used.get(str(mapping(node, "metadata").get("name")), {}))
            fitting += max(0, min(free[resource] // each for resource, each in request.gpus.items()))
    return fitting


def _used_by_node(pods: Iterable[Document]) -> dict[str, Counter[str]]:
    used: dict[str, Counter[str]] = {}
    for pod in pods:
        node = str(mapping(pod, "spec").get("nodeName") or "")
        if node and mapping(pod, "status").get("phase") not in ("Succeeded", "Failed"):
            used.setdefault(node, Counter()).update(pod_gpus(mapping(pod, "spec")))
    return used


def _allocatable(node: Document) -> Counter[str]:
    known = mapping(node, "status", "allocatable")
    return Counter({name: int(quantity_or_zero(value)) for name, value in known.items() if is_gpu(name)})


def is_schedulable(pod: Mapping[str, Any], node: Document) -> bool:
    """Whether a node is ready and its labels and taints admit such a pod."""
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in objects(node, "status", "conditions")
    )
    if not ready or mapping(node, "spec").get("unschedulable"):
        return False
    labels = string_map(node, "metadata", "labels")
    if any(labels.get(key) != value for key, value in string_map(pod, "nodeSelector").items()):
        return False
    terms = objects(mapping(pod, "affinity", "nodeAffinity", _REQUIRED), "nodeSelectorTerms")
    if terms and not any(
        selects({"matchExpressions": term.get("matchExpressions")}, labels) for term in terms
    ):
        return False
    taints = [t for t in objects(node, "spec", "taints") if t.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(each, taint) for each in objects(pod, "tolerations")) for taint in taints)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value") == taint.get("value")
