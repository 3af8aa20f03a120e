"""How a rollout stands, read from an InferenceService in Knative mode.

KServe's words (``inference_service_status.go`` of kserve/kserve aaac4e29), per component: the *latest created*
revision is that of the manifest as it is, the *latest ready* one the newest whose pods came up, the *latest rolled
out* one the newest that ever had all traffic, and the *previous rolled out* one what had it before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.kubernetes.documents import Document, mapping, objects
from protocol.kubernetes.inference_service import KNATIVE, inference_services

PREDICTOR, TRANSFORMER = "predictor", "transformer"
ROLLOUT_COMPONENTS = (PREDICTOR, TRANSFORMER)
"""Components that a release has a part in: they move together."""
CANARY_PERCENT = "canaryTrafficPercent"
_NAMES = (
    "latestCreatedRevision",
    "latestReadyRevision",
    "latestRolledoutRevision",
    "previousRolledoutRevision",
)
_ASPECTS = ("ConfigurationReady", "Ready", "RouteReady")
"""Conditions of a component, the most telling first."""


class RolloutRefused(Exception):
    """A rollout cannot go on as asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """A revision's part of a component's traffic."""

    revision: str
    percent: int
    tag: str
    url: str


@dataclass(frozen=True, slots=True)
class ComponentState:
    """One component's revisions; names are empty where there is none yet."""

    name: str
    percent: int | None
    """``canaryTrafficPercent``; None sends all traffic to the latest ready revision."""
    latest_created: str
    latest_ready: str
    latest_rolled_out: str
    previous_rolled_out: str
    traffic: tuple[TrafficTarget, ...]
    failure: str
    """Why the component is not ready, in the cluster's words; empty if nothing says so."""

    @property
    def is_canary(self) -> bool:
        """Whether there is a revision newer than the one that last had all traffic."""
        return bool(self.latest_rolled_out) and self.latest_created != self.latest_rolled_out

    @property
    def is_ready(self) -> bool:
        """Whether the newest revision is ready."""
        return bool(self.latest_created) and self.latest_created == self.latest_ready and not self.failure

    @property
    def rollback_target(self) -> str:
        """The revision that 0 percent gives all traffic to; empty if that changes nothing.

        With a newer revision it is the one rolled out last. Without, KServe goes back to the one before that.
        """
        if self.is_canary:
            return self.latest_rolled_out
        is_settled = self.latest_created == self.latest_ready == self.latest_rolled_out
        return (
            self.previous_rolled_out
            if is_settled and self.previous_rolled_out != self.latest_rolled_out
            else ""
        )


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Both components of an InferenceService."""

    name: str
    components: tuple[ComponentState, ...]
    is_observed: bool
    """Whether KServe has acted on the manifest as it is; if not, the revisions are those of an older one."""

    @property
    def is_canary(self) -> bool:
        """Whether any component has a revision that never had all traffic, and an older one that had."""
        return any(component.is_canary for component in self.components)


def read_state(document: Document) -> RolloutState:
    """The rollout of ``document``, an InferenceService as the API server returns it.

    Raises:
        RolloutRefused: it is not in Knative mode, or lacks a component.
    """
    (service,) = inference_services([document])
    status = mapping(document, "status")
    mode = {"Serverless": KNATIVE}.get(str(status.get("deploymentMode")), status.get("deploymentMode"))
    if (mode or service.mode) != KNATIVE:
        raise RolloutRefused(
            f"{service.name} is in {mode or service.mode or 'no stated'} mode, where KServe does not split traffic "
            "between releases: use the annotation serving.kserve.io/deploymentMode: Knative on a new InferenceService"
        )
    missing = [name for name in ROLLOUT_COMPONENTS if name not in mapping(document, "spec")]
    if missing:
        raise RolloutRefused(
            f"{service.name} has no {missing[0]}: a rollout moves {' and '.join(ROLLOUT_COMPONENTS)}"
        )
    seen, newest = status.get("observedGeneration"), mapping(document, "metadata").get("generation")
    is_observed = not isinstance(seen, int) or not isinstance(newest, int) or seen >= newest
    return RolloutState(
        service.name, tuple(_component(document, name) for name in ROLLOUT_COMPONENTS), is_observed
    )


def revision_names(document: Document) -> frozenset[str]:
    """Every revision that the status of ``document`` names."""
    parts = mapping(document, "status", "components")
    return frozenset(
        str(mapping(parts, name)[key])
        for name in ROLLOUT_COMPONENTS
        for key in _NAMES
        if mapping(parts, name).get(key)
    )


def _component(document: Document, name: str) -> ComponentState:
    status = mapping(document, "status", "components", name)
    percent = mapping(document, "spec", name).get(CANARY_PERCENT)
    return ComponentState(
        name=name,
        percent=percent if isinstance(percent, int) else None,
        latest_created=str(status.get("latestCreatedRevision") or ""),
        latest_ready=str(status.get("latestReadyRevision") or ""),
        latest_rolled_out=str(status.get("latestRolledoutRevision") or ""),
        previous_rolled_out=str(status.get("previousRolledoutRevision") or ""),
        traffic=tuple(_traffic_target(entry) for entry in objects(status, "traffic")),
        failure=_failure(document, name),
    )


def _traffic_target(entry: Mapping[str, Any]) -> TrafficTarget:
    return TrafficTarget(
        revision=str(entry.get("revisionName") or ""),
        percent=int(entry.get("percent") or 0),
        tag=str(entry.get("tag") or ""),
        url=str(entry.get("url") or ""),
    )


def _failure(document: Document, name: str) -> str:
    conditions = {str(c.get("type")): c for c in objects(document, "status", "conditions")}
    for aspect in _ASPECTS:
        condition = conditions.get(name.capitalize() + aspect, {})
        if condition.get("status") == "False":
            told = (condition.get("reason"), condition.get("message"))
            return ": ".join(str(part) for part in told if part) or f"{name.capitalize()}{aspect} is False"
    return ""
