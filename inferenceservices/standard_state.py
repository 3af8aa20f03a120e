"""The state of a rollout in KServe's Standard mode: two InferenceServices behind the routes of component gateway-api.

KServe splits no traffic behind a transformer in this mode (0.17 has no canary here; ``spec.canary`` of 0.20 is for
predictors without one). So a canary is an InferenceService of its own, ``NAME-canary``, whose transformer gets a
weight in the HTTPRoute and the GRPCRoute that lead to the stable one's. Each has a predictor of its own, so that
releases never mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inferenceservices.release_change import release_of
from inferenceservices.rollout_state import (
    DIGEST_ANNOTATION,
    ROLLOUT_COMPONENTS,
    TRANSFORMER,
    ComponentState,
    RolloutState,
    TrafficTarget,
    is_observed,
)
from protocol.kubernetes.documents import Document, mapping, objects, string_map

PERCENT_ANNOTATION = "yiwen/canary-percent"
"""Annotation of the routes: the share that the canary is to have as soon as it is ready."""
TEMPLATE_FIELDS = ("containers", "initContainers", "labels", "model")
"""Fields of a component that a change of release, storage or image changes."""


@dataclass(frozen=True, slots=True)
class StandardRollout:
    """What a rollout in Standard mode is read from."""

    stable: Document
    """The InferenceService that the manifests have."""
    canary: Document | None
    deployments: Mapping[str, Document]
    """Those of both InferenceServices, by name."""
    routes: tuple[Document, ...]
    """HTTPRoutes and GRPCRoutes that lead to the stable transformer, HTTPRoutes first."""
    before: Mapping[str, str]
    """What the stable InferenceService had before a promotion (JSON), by the digest that it got then."""

    @property
    def name(self) -> str:
        """Of the stable InferenceService."""
        return name_of(self.stable)

    @property
    def canary_name(self) -> str:
        """Of the canary, which need not be there."""
        return canary_name(self.name)

    @property
    def wanted(self) -> int | None:
        """The share that the canary is to have, percent; None: there is none."""
        notes = [
            string_map(each, "metadata", "annotations").get(PERCENT_ANNOTATION, "") for each in self.routes
        ]
        return int(notes[0]) if notes and notes[0].isdecimal() else None

    @property
    def weight(self) -> int:
        """The share that the canary has by the routes, percent; the largest one where they differ."""
        return max((canary_share(route, self.name) for route in self.routes), default=0)

    @property
    def is_promoting(self) -> bool:
        """Whether the stable InferenceService gets, or has, what the canary runs."""
        return self.canary is not None and digest_of(self.stable) == digest_of(self.canary)

    @property
    def is_canary_ending(self) -> bool:
        """Whether the canary was deleted, and is not gone yet."""
        return bool(mapping(self.canary, "metadata").get("deletionTimestamp"))

    @property
    def are_routes_observed(self) -> bool:
        """Whether the gateway has acted on the routes as they are."""
        return all(_is_observed(route) for route in self.routes)


def canary_name(name: str) -> str:
    """Name of the InferenceService beside another one."""
    return f"{name}-canary"


def backend_of(name: str) -> str:
    """Name of the Service of an InferenceService's transformer."""
    return f"{name}-{TRANSFORMER}"


def name_of(document: Document) -> str:
    """Name of an object."""
    return str(mapping(document, "metadata").get("name"))


def digest_of(service: Document) -> str:
    """Digest of what an InferenceService was last changed to; empty if no rollout has changed it."""
    return string_map(service, "metadata", "annotations").get(DIGEST_ANNOTATION, "")


def leads_to(route: Document, name: str) -> bool:
    """Whether a rule of a route leads to the transformer of an InferenceService."""
    return any(
        backend.get("name") == backend_of(name)
        for rule in objects(route, "spec", "rules")
        for backend in objects(rule, "backendRefs")
    )


def canary_share(route: Document, name: str) -> int:
    """Share of the canary of ``name`` in a route, percent; the largest one of its rules."""
    shares = [0]
    for rule in objects(route, "spec", "rules"):
        weights = {str(each.get("name")): int(each.get("weight", 1)) for each in objects(rule, "backendRefs")}
        total = sum(weights.values())
        shares.append(round(100 * weights.get(backend_of(canary_name(name)), 0) / total) if total else 0)
    return max(shares)


def is_rolled_out(service: Document, deployments: Mapping[str, Document]) -> bool:
    """Whether all pods of both components are those of an InferenceService as it is now, and available."""
    if not is_observed(service):
        return False
    return all(
        _is_complete(deployments.get(f"{name_of(service)}-{component}", {}), digest_of(service))
        for component in ROLLOUT_COMPONENTS
    )


def replicas_of(rollout: StandardRollout, service: Document, component: str) -> int:
    """Pods that a component of an InferenceService is to have now."""
    deployment = rollout.deployments.get(f"{name_of(service)}-{component}", {})
    lowest = mapping(service, "spec", component).get("minReplicas", 1)
    return max(int(mapping(deployment, "spec").get("replicas", 0)), int(lowest))


def releases_of(rollout: StandardRollout) -> dict[str, str]:
    """Release by the name of the InferenceService."""
    services = (rollout.stable, *((rollout.canary,) if rollout.canary else ()))
    return {name_of(each): release_of(mapping(each, "spec", TRANSFORMER)) for each in services}


def rollout_state(rollout: StandardRollout) -> RolloutState:
    """The same in the terms of a rollout in Knative mode: an InferenceService takes the place of a revision."""
    newest = rollout.canary or rollout.stable
    parts = (rollout.stable, newest, *rollout.routes)
    is_routed = rollout.weight == (rollout.wanted or 0) or not is_rolled_out(newest, rollout.deployments)
    return RolloutState(
        name=rollout.name,
        components=tuple(_component(rollout, newest, name) for name in ROLLOUT_COMPONENTS),
        is_observed=is_routed and not rollout.is_promoting,
        generation=sum(int(mapping(each, "metadata").get("generation", 0)) for each in parts),
    )


def _component(rollout: StandardRollout, newest: Document, name: str) -> ComponentState:
    is_ready = is_rolled_out(newest, rollout.deployments)
    shares = [(rollout.stable, 100 - rollout.weight)]
    if rollout.canary:
        shares.append((rollout.canary, rollout.weight))
    return ComponentState(
        name=name,
        percent=(rollout.wanted or 0) if rollout.canary else None,
        latest_created=name_of(newest),
        latest_ready=name_of(newest) if is_ready else "",
        latest_rolled_out=rollout.name,
        previous_rolled_out="",
        traffic=tuple(TrafficTarget(name_of(each), percent, "", "") for each, percent in shares),
        failure=_failure(rollout.deployments.get(f"{name_of(newest)}-{name}", {})),
    )


def _is_complete(deployment: Document, digest: str) -> bool:
    status, spec = mapping(deployment, "status"), mapping(deployment, "spec")
    wanted = spec.get("replicas")
    annotations = string_map(spec, "template", "metadata", "annotations")
    if not wanted or annotations.get(DIGEST_ANNOTATION, "") != digest:
        return False
    if status.get("observedGeneration", 0) < mapping(deployment, "metadata").get("generation", 0):
        return False
    return all(status.get(key, 0) == wanted for key in ("replicas", "updatedReplicas", "availableReplicas"))


def _is_observed(route: Document) -> bool:
    newest = mapping(route, "metadata").get("generation", 0)
    conditions = [
        each
        for parent in objects(route, "status", "parents")
        for each in objects(parent, "conditions")
        if each.get("type") == "Accepted"
    ]
    return bool(conditions) and all(each.get("observedGeneration", 0) >= newest for each in conditions)


def _failure(deployment: Document) -> str:
    conditions: dict[str, Mapping[str, Any]] = {
        str(each.get("type")): each for each in objects(deployment, "status", "conditions")
    }
    for name, bad in (("ReplicaFailure", "True"), ("Progressing", "False")):
        found = conditions.get(name, {})
        if found.get("status") == bad:
            return f"{found.get('reason')}: {found.get('message')}"
    return ""
