"""What a new revision finds of quotas and nodes: a table of clusters and their answers."""

from __future__ import annotations

from typing import Any

import pytest

from inferenceservices.gpu_capacity import (
    ClusterCapacity,
    GpuAvailability,
    check_gpu_availability,
    gpu_availability,
    gpu_requests,
    pod_gpus,
)
from inferenceservices.rollout_state import RolloutRefused
from protocol.kubernetes.inference_service import inference_services
from tests.inferenceservices.builds import documents_of
from tests.inferenceservices.rollouts import RESOURCE, service_document

LABELS = {
    "nvidia.com/gpu.product": "NVIDIA-H200",
    "nvidia.com/mig.strategy": "mixed",
    "nvidia.com/mig.config.state": "success",
    f"{RESOURCE}.count": "7",
}


def node(name: str = "n1", slices: int = 7, **spec: object) -> dict[str, Any]:
    """A node that is ready and has slices."""
    return {
        "metadata": {"name": name, "labels": dict(LABELS)},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}], **spec},
        "status": {
            "allocatable": {"cpu": "64", RESOURCE: str(slices)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(node_name: str, slices: int, phase: str = "Running") -> dict[str, Any]:
    """A pod that holds slices of a node."""
    resources = {"limits": {RESOURCE: str(slices)}}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": node_name, "containers": [{"name": "c", "resources": resources}]},
        "status": {"phase": phase},
    }


def quota(name: str, hard: int, used: int, **spec: object) -> dict[str, Any]:
    """A ResourceQuota on slices."""
    key = f"requests.{RESOURCE}"
    return {
        "metadata": {"name": name},
        "spec": {"hard": {key: str(hard)}, **spec},
        "status": {"used": {key: str(used)}},
    }


def room(capacity: ClusterCapacity, replicas: int = 2) -> GpuAvailability:
    """GPUs available to a revision with that many predictors."""
    document = service_document()
    document["spec"]["predictor"]["minReplicas"] = replicas
    (found,) = gpu_availability(inference_services([document])[0], capacity)
    return found


def _nodes(*nodes: dict[str, Any], pods: tuple[dict[str, Any], ...] = ()) -> ClusterCapacity:
    return ClusterCapacity(quotas=(), nodes=nodes, pods=pods)


def _labelled(**labels: str | None) -> dict[str, Any]:
    changed = node()
    for key, value in labels.items():
        label = {"state": "nvidia.com/mig.config.state", "product": "nvidia.com/gpu.product"}[key]
        changed["metadata"]["labels"] |= {label: value}
    return changed


def _down() -> dict[str, Any]:
    changed = node()
    changed["status"]["conditions"][0]["status"] = "Unknown"
    return changed


@pytest.mark.parametrize(
    ("capacity", "free"),
    [
        (_nodes(), 0),
        (_nodes(node()), 7),
        (_nodes(node("n1", 3), node("n2", 2)), 5),
        (_nodes(node(), pods=(pod("n1", 2), pod("n1", 1), pod("elsewhere", 7))), 4),
        (_nodes(node(), pods=(pod("n1", 2, "Succeeded"), pod("n1", 2, "Failed"), pod("", 2, "Pending"))), 7),
        (_nodes(node(slices=2), pods=(pod("n1", 3),)), 0),
        (_nodes(_labelled(state="pending")), 0),
        (_nodes(_labelled(product="NVIDIA-A100-SXM4-80GB")), 0),
        (_nodes(_down()), 0),
        (_nodes(node(unschedulable=True)), 0),
        (_nodes(node(taints=[{"key": "team", "value": "x", "effect": "NoSchedule"}])), 0),
        (_nodes(node(taints=[{"key": "team", "value": "x", "effect": "PreferNoSchedule"}])), 7),
        (ClusterCapacity((), None, ()), None),
        (ClusterCapacity((), (node(),), None), None),
    ],
)
def test_free_gpus_on_nodes_that_fit(capacity: ClusterCapacity, free: int | None) -> None:
    assert room(capacity).nodes_free == free


@pytest.mark.parametrize(
    ("quotas", "name", "rest"),
    [
        ((), "", None),
        (None, "", None),
        ((quota("gpu", 14, 2),), "gpu", 12),
        ((quota("wide", 14, 2), quota("tight", 5, 4)), "tight", 1),
        ((quota("shrunk", 1, 4),), "shrunk", 0),
        ((quota("gpu", 14, 2, scopes=["NotTerminating"]),), "gpu", 12),
        ((quota("jobs", 1, 1, scopes=["Terminating"]),), "", None),
        ((quota("urgent", 1, 1, scopeSelector={"matchExpressions": []}),), "", None),
    ],
)
def test_gpus_that_quotas_leave(
    quotas: tuple[dict[str, Any], ...] | None, name: str, rest: int | None
) -> None:
    found = room(ClusterCapacity(quotas, None, None))
    assert (found.quota, found.quota_remaining) == (name, rest)


def test_a_quota_that_is_too_small_is_refused_with_the_missing_number() -> None:
    (service,) = inference_services([service_document()])
    small = ClusterCapacity((quota("gpu", 1, 1),), (node(),), ())
    with pytest.raises(RolloutRefused, match=rf"ResourceQuota gpu leaves 0 of {RESOURCE}.* by 1, or lower"):
        check_gpu_availability(service, small, allow_pending=True)


def test_full_nodes_are_refused_unless_pods_may_be_pending() -> None:
    (service,) = inference_services([service_document()])
    full = _nodes(node(slices=1), pods=(pod("n1", 1),))
    with pytest.raises(RolloutRefused, match=r"have 0 of .* free .*--allow-pending"):
        check_gpu_availability(service, full, allow_pending=False)
    assert check_gpu_availability(service, full, allow_pending=True) == ()


def test_what_could_not_be_checked_is_reported() -> None:
    (service,) = inference_services([service_document()])
    notes = check_gpu_availability(service, ClusterCapacity(None, None, None), allow_pending=False)
    assert [note.split(":")[0] for note in notes] == [
        "no right to list ResourceQuotas",
        "no right to list nodes and pods",
    ]


@pytest.mark.parametrize(
    ("replicas", "initial", "pods"), [(2, None, 2), (2, "5", 5), (0, None, 1), (0, "0", 0), (1, "x", 1)]
)
def test_a_revision_starts_with_the_larger_of_two_scales(
    replicas: int, initial: str | None, pods: int
) -> None:
    document = service_document()
    predictor = document["spec"]["predictor"]
    predictor["minReplicas"] = replicas
    if initial is not None:
        predictor["annotations"]["autoscaling.knative.dev/initial-scale"] = initial
    found = gpu_requests(inference_services([document])[0])
    assert [demand.pods for demand in found] == ([pods] if pods else [])


def test_two_components_share_the_available_gpus() -> None:
    document = service_document()
    document["spec"]["transformer"]["containers"] = document["spec"]["predictor"]["containers"]
    (service,) = inference_services([document])
    rooms = gpu_availability(service, ClusterCapacity((quota("gpu", 5, 3),), (node(slices=3),), ()))
    assert [(r.component, r.quota_remaining, r.nodes_free) for r in rooms] == [
        ("predictor", 2, 3),
        ("transformer", 1, 2),
    ]


def test_an_init_container_counts_if_it_requests_more() -> None:
    def container(slices: int) -> dict[str, Any]:
        return {"resources": {"limits": {RESOURCE: slices, "cpu": 1}}}

    both = [container(1), container(1)]
    assert pod_gpus({"containers": both, "initContainers": [container(3)]}) == {RESOURCE: 3}
    assert pod_gpus({"containers": both, "initContainers": [container(1)]}) == {RESOURCE: 2}
    assert pod_gpus({"containers": [{"resources": {"limits": {"cpu": 1}}}]}) == {}


@pytest.mark.parametrize(("overlay", "needed"), [("production", 2), ("staging", 1), ("runtime", 1)])
def test_the_overlays_leave_room_for_a_canary(overlay: str, needed: int) -> None:
    documents = documents_of(f"overlays/{overlay}")
    quotas = tuple(document for document in documents if document["kind"] == "ResourceQuota")
    used = tuple(
        {**each, "status": {"used": {key: str(needed) for key in each["spec"]["hard"]}}} for each in quotas
    )
    (found,) = gpu_availability(inference_services(documents)[0], ClusterCapacity(used, None, None))
    assert found.needed == needed
    assert found.quota_error == ""
    assert (found.quota_remaining is None) == (not quotas)
