"""KServe in Standard mode as far as a rollout sees it: InferenceServices become Deployments, whose pods get ready."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from inferenceservices.cluster import Conflict
from inferenceservices.release_change import release_of
from inferenceservices.rollout import merge
from inferenceservices.rollout_state import DIGEST_ANNOTATION, ROLLOUT_COMPONENTS
from inferenceservices.standard_rollout import Action, StandardStep
from inferenceservices.standard_state import StandardRollout, backend_of, canary_share, leads_to
from tests.inferenceservices.rollouts import service_document

Json = dict[str, Any]
NAME, CANARY = "yiwen", "yiwen-canary"


def standard_document() -> Json:
    """An InferenceService in Standard mode with release a, and two predictors at least."""
    document = copy.deepcopy(service_document())
    document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    document["metadata"]["uid"] = "0f-1e"
    document["spec"]["predictor"] |= {"minReplicas": 2, "maxReplicas": 4, "scaleTarget": 1}
    document["spec"]["transformer"] |= {"minReplicas": 1, "maxReplicas": 4}
    return document


def route(kind: str, port: int) -> Json:
    """One of the component gateway-api."""
    return {
        "kind": kind,
        "metadata": {"name": NAME, "resourceVersion": "1", "generation": 1},
        "spec": {"rules": [{"backendRefs": [{"name": backend_of(NAME), "port": port}]}]},
    }


class StandardKServe:
    """Takes the steps of a rollout as the cluster would; each tick brings every Deployment that starts up."""

    def __init__(self, starts: Callable[[str], bool] = lambda release: True) -> None:
        self.services = {NAME: standard_document()}
        self.deployments: dict[str, Json] = {}
        self.routes = [route("HTTPRoute", 80), route("GRPCRoute", 8081)]
        self.before: dict[str, str] = {}
        self.conflicts = 0
        """Steps that fail since somebody else was faster."""
        self.taken: list[StandardStep] = []
        self._starts = starts
        self.tick()
        self.tick()

    @property
    def shares(self) -> dict[str, int]:
        """Percentage of the requests by the release that answers them."""
        percent = max(canary_share(each, NAME) for each in self.routes)
        shares = {self.serving(NAME): 100 - percent}
        if percent:
            shares[self.serving(CANARY)] = percent
        return shares

    def serving(self, name: str) -> str:
        """The release of the pods of an InferenceService that are ready."""
        (release,) = {
            self.deployments[f"{name}-{component}"]["ready release"] for component in ROLLOUT_COMPONENTS
        }
        return str(release)

    def standard_rollout(self, name: str) -> StandardRollout:
        found = [each for each in self.routes if leads_to(each, name)]
        return copy.deepcopy(
            StandardRollout(
                self.services[name], self.services.get(CANARY), self.deployments, tuple(found), self.before
            )
        )

    def take(self, rollout: StandardRollout, step: StandardStep) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise Conflict("somebody else was faster")
        self.taken.append(step)
        self.before |= step.before
        if step.action is Action.CREATE:
            body = copy.deepcopy(dict(step.body))
            body["metadata"] |= {"resourceVersion": "1", "generation": 1}
            self.services[CANARY] = body
        elif step.action is Action.CHANGE:
            self.services[step.name] = self.patched(self.services[step.name], step.body)
        elif step.action is Action.ROUTE:
            self.routes = [
                {**self.patched(each, patch), "status": each.get("status", {})}
                for each, (_, patch) in zip(self.routes, step.routes, strict=True)
            ]
        elif step.action is Action.DELETE:
            self.delete(step.name)

    def delete(self, name: str) -> None:
        """A finalizer keeps it until the controllers act."""
        assert not any(canary_share(each, NAME) for each in self.routes), "its pods have traffic"
        assert "deletionTimestamp" not in self.services[name]["metadata"], "it was deleted before"
        self.services[name]["metadata"]["deletionTimestamp"] = "2026-11-29T00:00:00Z"

    def tick(self, _: float = 0.0) -> None:
        """The controllers act once, and pods that start are ready."""
        for each in self.routes:
            accepted = {"type": "Accepted", "observedGeneration": each["metadata"]["generation"]}
            each["status"] = {"parents": [{"conditions": [accepted]}]}
        self.services = {
            name: each for name, each in self.services.items() if "deletionTimestamp" not in each["metadata"]
        }
        gone = [name for name in self.deployments if name.rpartition("-")[0] not in self.services]
        for name in gone:
            del self.deployments[name]
        for name, service in self.services.items():
            service["status"] = {"observedGeneration": service["metadata"]["generation"]}
            for component in ROLLOUT_COMPONENTS:
                self._deploy(f"{name}-{component}", service, component)

    def _deploy(self, name: str, service: Json, component: str) -> None:
        digest = service["metadata"]["annotations"].get(DIGEST_ANNOTATION)
        replicas = service["spec"][component]["minReplicas"]
        old = self.deployments.get(name)
        spec = {
            "replicas": replicas,
            "template": {"metadata": {"annotations": {DIGEST_ANNOTATION: digest} if digest else {}}},
        }
        if old is None or old["spec"] != spec:
            # The pods before stay until the new ones are ready.
            kept = {
                "replicas": replicas + 1,
                "updatedReplicas": 0,
                "availableReplicas": replicas,
                "observedGeneration": 1,
            }
            ready = old["ready release"] if old else ""
            self.deployments[name] = {
                "metadata": {"name": name, "generation": 1},
                "spec": spec,
                "status": kept,
                "ready release": ready,
            }
        elif self._starts(release := release_of(service["spec"][component])):
            counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
            old["status"] = {**counts, "observedGeneration": 1}
            old["ready release"] = release

    @staticmethod
    def patched(document: Json, patch: Any) -> Json:
        sent = patch.get("metadata", {}).get("resourceVersion")
        assert sent == document["metadata"]["resourceVersion"], "a patch says which version it is of"
        merged = merge(document, patch)
        metadata = dict(merged["metadata"])
        metadata["resourceVersion"] = str(int(sent) + 1)
        metadata["generation"] += merged.get("spec") != document.get("spec")
        return {**merged, "metadata": metadata}
