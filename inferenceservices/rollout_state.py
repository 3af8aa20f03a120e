"""The state of a rollout, and how it is read from the status of an InferenceService in Knative mode.

Terms of KServe (``inference_service_status.go`` of kserve/kserve aaac4e29), per component: the *latest created*
revision is that of the present manifest, the *latest ready* one the newest whose pods became ready, the *latest
rolled out* one the newest that ever had all traffic, and the *previous rolled out* one that had all traffic before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.kubernetes.documents import Document, mapping, objects
from protocol.kubernetes.inference_service import KNATIVE, current_mode, inference_services

PREDICTOR, TRANSFORMER = "predictor", "transformer"
ROLLOUT_COMPONENTS = (PREDICTOR, TRANSFORMER)
"""Components that a rollout changes together: each serves a part of the release."""
CANARY_PERCENT = "canaryTrafficPercent"
DIGEST_ANNOTATION = "yiwen/rollout"
"""Annotation with a digest of both components' templates; KServe passes it on to their revisions and pods."""
_REVISION_FIELDS = (
    "latestCreatedRevision",
    "latestReadyRevision",
    "latestRolledoutRevision",
    "previousRolledoutRevision",
)
_CONDITIONS = ("ConfigurationReady", "Ready", "RouteReady")
"""Suffixes of a component's conditions, the most specific first."""


class RolloutRefused(Exception):
    """A rollout step is refused; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """A revision's share of a component's traffic, as in the status of a Knative Service."""

    revision: str
    percent: int
    tag: str
    url: str


@dataclass(frozen=True, slots=True)
class ComponentState:
    """One component's revisions by name; a name is empty where there is no such revision."""

    name: str
    percent: int | None
    """``canaryTrafficPercent``; None: all traffic goes to the latest ready revision."""
    latest_created: str
    latest_ready: str
    latest_rolled_out: str
    previous_rolled_out: str
    traffic: tuple[TrafficTarget, ...]
    failure: str
    """Why the component is not ready, from the status conditions; empty if no condition is False."""

    @property
    def is_canary(self) -> bool:
        """Whether a revision is newer than the latest rolled out one."""
        return bool(self.latest_rolled_out) and self.latest_created != self.latest_rolled_out

    @property
    def is_ready(self) -> bool:
        """Whether the latest created revision is ready."""
        return bool(self.latest_created) and self.latest_created == self.latest_ready and not self.failure

    @property
    def is_former_canary_ready(self) -> bool:
        """Whether the latest ready revision is not the stable one: it would get the share of a new canary."""
        return bool(self.latest_rolled_out) and self.latest_ready not in ("", self.latest_rolled_out)

    @property
    def rollback_target(self) -> str:
        """The revision that gets all traffic if ``canaryTrafficPercent`` becomes 0; empty if that changes nothing.

        During a canary that is the latest rolled out revision, otherwise the previous rolled out one.
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
    """The rollout state of an InferenceService's components."""

    name: str
    components: tuple[ComponentState, ...]
    is_observed: bool
    """Whether KServe has observed the present generation; if not, the revisions are those of an older one."""
    generation: int
    """Number of the specification, which grows with each change of it; 0 if it is not known."""

    @property
    def is_canary(self) -> bool:
        """Whether any component is in a canary."""
        return any(component.is_canary for component in self.components)


def mode_of(document: Document) -> str:
    """The deployment mode of an InferenceService: by its status, else by its annotation; empty if neither has one."""
    (service,) = inference_services([document])
    return current_mode(str(mapping(document, "status").get("deploymentMode") or service.mode))


def read_state(document: Document) -> RolloutState:
    """The rollout state of ``document``, an InferenceService as the API server returns it.

    Raises:
        RolloutRefused: it is not in Knative mode, or lacks a component.
    """
    (service,) = inference_services([document])
    status = mapping(document, "status")
    if (mode := mode_of(document)) != KNATIVE:
        raise RolloutRefused(
            f"{service.name} is in {mode or 'no stated'} mode, and yiwen rollout knows Knative and Standard: use the "
            "annotation serving.kserve.io/deploymentMode on a new InferenceService"
        )
    missing = [name for name in ROLLOUT_COMPONENTS if name not in mapping(document, "spec")]
    if missing:
        raise RolloutRefused(
            f"{service.name} has no {missing[0]}: a rollout moves {' and '.join(ROLLOUT_COMPONENTS)}"
        )
    newest = mapping(document, "metadata").get("generation")
    return RolloutState(
        name=service.name,
        components=tuple(_component(document, name) for name in ROLLOUT_COMPONENTS),
        is_observed="observedGeneration" not in status or is_observed(document),
        generation=newest if isinstance(newest, int) else 0,
    )


def is_observed(service: Document) -> bool:
    """Whether KServe has written the status of an InferenceService since its specification changed.

    ``observedGeneration`` alone does not say so: KServe 0.17 copies it from the last of the components' Knative
    Services or Deployments, which gets no new generation where another component changed.
    """
    observed, newest = (
        mapping(service, "status").get("observedGeneration"),
        mapping(service, "metadata").get("generation"),
    )
    if not isinstance(observed, int):
        return False
    return not isinstance(newest, int) or observed >= newest or _is_status_newer(service)


def _is_status_newer(service: Document) -> bool:
    """Whether the status was written last, by the times of its managed fields, which are whole seconds."""
    specified, written = [""], [""]
    for each in objects(service, "metadata", "managedFields"):
        if each.get("subresource") == "status":
            written.append(str(each.get("time")))
        elif "f:spec" in mapping(each, "fieldsV1"):
            specified.append(str(each.get("time")))
    return max(written) > max(specified)


def revision_names(document: Document) -> frozenset[str]:
    """Every revision that the status of ``document`` names."""
    parts = mapping(document, "status", "components")
    return frozenset(
        str(mapping(parts, name)[key])
        for name in ROLLOUT_COMPONENTS
        for key in _REVISION_FIELDS
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
    for suffix in _CONDITIONS:
        condition = conditions.get(name.capitalize() + suffix, {})
        if condition.get("status") == "False":
            parts = (condition.get("reason"), condition.get("message"))
            return ": ".join(str(part) for part in parts if part) or f"{name.capitalize()}{suffix} is False"
    return ""
