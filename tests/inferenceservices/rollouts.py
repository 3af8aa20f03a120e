"""An InferenceService during a rollout, without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inferenceservices.release_change import release_of
from inferenceservices.rollout import RolloutStep, merge
from tests.inferenceservices.api_server import Controller
from tests.inferenceservices.documents import edit, knative_documents

RESOURCE = "nvidia.com/mig-1g.18gb"


def service_document() -> dict[str, Any]:
    """An InferenceService in Knative mode whose predictor, and no transformer, uses a MIG slice."""
    documents = knative_documents()
    resources = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
    edit(documents, "InferenceService|spec|transformer|containers|0|resources|requests", resources)
    edit(documents, "InferenceService|spec|transformer|containers|0|resources|limits", resources)
    document: dict[str, Any] = documents[0]
    document["metadata"] |= {"resourceVersion": "1", "generation": 1}
    return document


def deployed(starts: Callable[[str], bool] = lambda name: True) -> Controller:
    """Its controller after the first deployment."""
    controller = Controller(service_document(), starts)
    controller.reconcile()
    return controller


def carry_out(controller: Controller, plan: RolloutStep) -> None:
    """Send the patch and let the controller act."""
    controller.document = merge(controller.document, plan.patch)
    controller.document["metadata"]["generation"] += bool(plan.patch)
    controller.reconcile()


def releases(controller: Controller) -> dict[str, str]:
    """Release by revision name."""
    return {name: release_of(template["spec"]) for name, template in controller.templates.items()}


def traffic(controller: Controller, component: str) -> dict[str, int]:
    """Percentage of a component's traffic by release."""
    found: dict[str, int] = {}
    known = releases(controller)
    for target in controller.document["status"]["components"][component].get("traffic", []):
        release = known[target["revisionName"]]
        found[release] = found.get(release, 0) + target["percent"]
    return {release: percent for release, percent in found.items() if percent}
