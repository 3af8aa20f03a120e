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
MOVED = (PREDICTOR, TRANSFORMER)
"""Components that a release has a part in: they move together."""
PERCENT = "canaryTrafficPercent"
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
class Share:
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
    created: str
    ready: str
    rolled_out: str
    previous: str
    shares: tuple[Share, ...]
    fault: str
    """Why the component is not ready, in the cluster's words; empty if nothing says so."""

    @property
    def is_canary(self) -> bool:
        """Whether there is a revision newer than the one that last had all traffic."""
        return bool(self.rolled_out) and self.created != self.rolled_out

    @property
    def is_up(self) -> bool:
        """Whether the newest revision is ready."""
        return bool(self.created) and self.created == self.ready and not self.fault

    @property
    def rollback_target(self) -> str:
        """The revision that 0 percent gives all traffic to; empty if that changes nothing.

        With a newer revision it is the one rolled out last. Without, KServe goes back to the one before that.
        """
        if self.is_canary:
            return self.rolled_out
        is_settled = self.created == self.ready == self.rolled_out
        return self.previous if is_settled and self.previous != self.rolled_out else ""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Both components of an InferenceService."""

    name: str
    components: tuple[ComponentState, ...]
    is_seen: bool
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
    missing = [name for name in MOVED if name not in mapping(document, "spec")]
    if missing:
        raise RolloutRefused(f"{service.name} has no {missing[0]}: a rollout moves {' and '.join(MOVED)}")
    seen, newest = status.get("observedGeneration"), mapping(document, "metadata").get("generation")
    is_seen = not isinstance(seen, int) or not isinstance(newest, int) or seen >= newest
    return RolloutState(service.name, tuple(_component(document, name) for name in MOVED), is_seen)


def revision_names(document: Document) -> frozenset[str]:
    """Every revision that the status of ``document`` names."""
    parts = mapping(document, "status", "components")
    return frozenset(
        str(mapping(parts, name)[key]) for name in MOVED for key in _NAMES if mapping(parts, name).get(key)
    )


def _component(document: Document, name: str) -> ComponentState:
    status = mapping(document, "status", "components", name)
    percent = mapping(document, "spec", name).get(PERCENT)
    return ComponentState(
        name=name,
        percent=percent if isinstance(percent, int) else None,
        created=str(status.get("latestCreatedRevision") or ""),
        ready=str(status.get("latestReadyRevision") or ""),
        rolled_out=str(status.get("latestRolledoutRevision") or ""),
        previous=str(status.get("previousRolledoutRevision") or ""),
        shares=tuple(_share(entry) for entry in objects(status, "traffic")),
        fault=_fault(document, name),
    )


def _share(entry: Mapping[str, Any]) -> Share:
    return Share(
        revision=str(entry.get("revisionName") or ""),
        percent=int(entry.get("percent") or 0),
        tag=str(entry.get("tag") or ""),
        url=str(entry.get("url") or ""),
    )


def _fault(document: Document, name: str) -> str:
    conditions = {str(c.get("type")): c for c in objects(document, "status", "conditions")}
    for aspect in _ASPECTS:
        condition = conditions.get(name.capitalize() + aspect, {})
        if condition.get("status") == "False":
            told = (condition.get("reason"), condition.get("message"))
            return ": ".join(str(part) for part in told if part) or f"{name.capitalize()}{aspect} is False"
    return ""
