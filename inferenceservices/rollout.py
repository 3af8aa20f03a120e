"""JSON merge patches for an InferenceService that start, move, promote or roll back a canary of a release.

The rules of KServe, from ``ksvc_reconciler.go`` and ``inference_service_status.go`` of kserve/kserve aaac4e29, with
C = ``canaryTrafficPercent`` and L = the latest rolled out revision of a component:

- If C is set and L exists, the latest revision gets C % and L gets the rest, under the tag ``prev``. Otherwise the
  latest revision gets everything: a first deployment ignores C.
- If C is below 100 and the latest revision *is* L, KServe rolls the component back to the revision before L. A canary
  of the predictor alone would therefore roll the transformer back. So each change makes new revisions of **both**
  components (an annotation is enough), and C changes only while both have a newer revision than L.
- "The latest revision" is the latest *ready* one. Where that is a former canary, as after a rollback, it would get
  the share of a new one until the new one is ready: so C is 0 until then.
- Traffic is split per request and per component. Transformers find the predictor of their own release by the
  revisions' tags, which the annotation ``enable-tag-routing`` turns on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inferenceservices.release_change import ReleaseChange, change_components
from inferenceservices.rollout_state import (
    CANARY_PERCENT,
    DIGEST_ANNOTATION,
    ROLLOUT_COMPONENTS,
    RolloutRefused,
    RolloutState,
    read_state,
)
from inferenceservices.rules.scaling import TAG_ROUTING
from protocol.kubernetes.documents import Document, mapping, string_map


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """A step of a rollout."""

    patch: Mapping[str, Any]
    """JSON merge patch (RFC 7386) for the InferenceService; empty if there is nothing to do."""
    summary: str
    """One sentence for the user."""
    makes_revisions: bool = field(default=False)
    """Whether new pods start, for which GPUs must be available."""
    share_when_ready: int | None = None
    """Percentage that is still to be given, by :func:`plan_share`, when the new revisions are ready."""


def plan_set(
    document: Document, percent: int, change: ReleaseChange, releases: Mapping[str, str] | None = None
) -> RolloutStep:
    """Give the newest release ``percent`` of the traffic: of the running canary, or of one that ``change`` starts.

    Args:
        document: the InferenceService as the API server returns it.
        percent: of the requests to each component, 0 to 100; 100 is a promotion, or a rollout without canary.
        change: what the new revisions run; an empty one changes the percentage of the running canary.
        releases: release by revision name, as far as known.

    Raises:
        RolloutRefused: KServe would not do what is asked, or two releases would mix.
    """
    if not 0 <= percent <= 100:
        raise RolloutRefused(f"{percent} is no share: give a whole percentage from 0 to 100")
    state = _observed_state(document)
    fields = change_components(mapping(document, "spec"), change)
    if percent < 100:
        _refuse_mixed({c.name: c.latest_rolled_out for c in state.components}, releases or {})
    if any(fields.values()):
        return _start_canary(document, state, percent, fields)
    if percent == 100:
        return plan_promote(document)
    return _change_percent(document, state, percent)


def plan_share(document: Document, started: RolloutStep) -> RolloutStep:
    """Give the revisions that :func:`plan_set` made without traffic their share; an empty patch until they are ready.

    Args:
        document: the InferenceService as the API server returns it.
        started: the step that made them; what is returned still has its ``share_when_ready`` until they are ready.

    Raises:
        RolloutRefused: somebody else has changed the rollout meanwhile.
    """
    state = read_state(document)
    digest = string_map(document, "metadata", "annotations").get(DIGEST_ANNOTATION)
    is_ours = digest == started.patch["metadata"]["annotations"][DIGEST_ANNOTATION]
    if not is_ours or any(component.percent != 0 for component in state.components):
        raise RolloutRefused(f"somebody else has changed the rollout of {state.name}: look at its status")
    if not state.is_observed or not all(component.is_ready for component in state.components):
        return dataclasses.replace(started, patch={})
    percent = started.share_when_ready or 0
    revisions = ", ".join(component.latest_created for component in state.components)
    return RolloutStep(
        _patch(document, _percent_fields(_share(percent))),
        f"{percent} % of the traffic of {state.name} to {revisions}, which are ready",
    )


def plan_promote(document: Document) -> RolloutStep:
    """Give the newest release all traffic; an empty patch if it has all traffic already.

    Args:
        document: the InferenceService as the API server returns it.

    Raises:
        RolloutRefused: there is no canary, it was rolled back, or it is not ready.
    """
    state = _observed_state(document)
    if all(component.percent in (None, 100) for component in state.components):
        return RolloutStep({}, f"{state.name} is promoted already: no share holds its newest revisions back")
    if not state.is_canary:
        raise RolloutRefused(f"{_no_canary(state)}; start one with --release")
    if any(component.percent == 0 for component in state.components):
        raise RolloutRefused(
            f"the newest revision of {state.name} has no traffic, as after a rollback: give it a share first "
            f"(yiwen rollout set {state.name} --percent 10) and look at it"
        )
    _refuse_unready(state)
    revisions = ", ".join(c.latest_created for c in state.components)
    return RolloutStep(_patch(document, _percent_fields(None)), f"all traffic of {state.name} to {revisions}")


def plan_rollback(document: Document, releases: Mapping[str, str] | None = None) -> RolloutStep:
    """Give the previous release all traffic, during a canary or after its promotion, by a percentage of 0.

    The manifest keeps naming the newest release, whose revisions stay without traffic until another one is set.

    Args:
        document: the InferenceService as the API server returns it.
        releases: release by revision name, as far as known.

    Raises:
        RolloutRefused: there is no previous revision, or those of the two components serve different releases.
    """
    state = _observed_state(document)
    if state.is_canary and all(component.percent == 0 for component in state.components):
        return RolloutStep({}, f"{state.name} is rolled back already: its newest revision has no traffic")
    if not any(component.rollback_target for component in state.components):
        raise RolloutRefused(
            f"{state.name} has no earlier revision that ever had all traffic: set the release before with "
            f"yiwen rollout set {state.name} --percent 100 --release NAME"
        )
    without_target = [c for c in state.components if not c.rollback_target]
    if without_target:
        raise RolloutRefused(
            f"only one component of {state.name} can go back: the {without_target[0].name} has no earlier revision, "
            f"and two releases would mix; set the release before with yiwen rollout set {state.name} --percent 100 "
            "--release NAME"
        )
    _refuse_mixed({c.name: c.rollback_target for c in state.components}, releases or {})
    revisions = ", ".join(c.rollback_target for c in state.components)
    return RolloutStep(
        _patch(document, _percent_fields(0)), f"all traffic of {state.name} back to {revisions}"
    )


def merge(document: Document, patch: Mapping[str, Any]) -> dict[str, Any]:
    """``document`` after a JSON merge patch (RFC 7386): null removes, objects merge, other values replace."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            before = result.get(key)
            result[key] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _observed_state(document: Document) -> RolloutState:
    state = read_state(document)
    if not state.is_observed:
        raise RolloutRefused(
            f"KServe has not acted on the last change of {state.name} yet: try again in a moment; if that lasts, "
            "look at the log of kserve-controller-manager"
        )
    return state


def _start_canary(
    document: Document, state: RolloutState, percent: int, fields: dict[str, dict[str, Any]]
) -> RolloutStep:
    """New revisions of both components with ``percent`` of the traffic."""
    first = [component.name for component in state.components if not component.latest_rolled_out]
    if first and percent < 100:
        raise RolloutRefused(
            f"the {first[0]} of {state.name} never had a revision with all traffic, and KServe ignores the share of "
            "a first deployment: wait until it is ready, or give it everything with --percent 100"
        )
    former = [c.latest_ready for c in state.components if c.is_former_canary_ready]
    waits = bool(former) and percent > 0
    share = 0 if waits else _share(percent)
    spec = {name: {**fields[name], CANARY_PERCENT: share} for name in ROLLOUT_COMPONENTS}
    templates = {
        name: {**mapping(document, "spec", name), **fields[name], CANARY_PERCENT: None}
        for name in ROLLOUT_COMPONENTS
    }
    digest = hashlib.sha256(json.dumps(templates, sort_keys=True).encode()).hexdigest()[:12]
    patch = _patch(document, spec, {DIGEST_ANNOTATION: digest, TAG_ROUTING: "true"})
    where = "all traffic" if percent == 100 else f"{percent} % of the traffic"
    skipped = [c.latest_created for c in state.components if c.is_canary]
    instead = f", in the place of {', '.join(skipped)}, which never had all" if skipped else ""
    until = (
        f", and none until both are ready, which is waited for: {', '.join(former)} would get theirs"
        if waits
        else "; until both are ready the old ones keep it"
    )
    return RolloutStep(
        patch,
        f"new revisions of {state.name}, {where} to them{instead}{until}",
        makes_revisions=True,
        share_when_ready=percent if waits else None,
    )


def _change_percent(document: Document, state: RolloutState, percent: int) -> RolloutStep:
    """Another percentage for the running canary."""
    old = [component for component in state.components if not component.is_canary]
    if len(old) == len(ROLLOUT_COMPONENTS):
        raise RolloutRefused(
            f"{_no_canary(state)}, and KServe would take a share below 100 for a rollback: name what is new with "
            "--release, --storage or an image, or use yiwen rollout rollback"
        )
    if old:
        raise RolloutRefused(
            f"the {old[0].name} of {state.name} has no newer revision, and KServe would take a share below 100 for a "
            f"rollback: start the canary with yiwen rollout set {state.name} --release, which makes revisions of both"
        )
    if all(component.percent == percent for component in state.components):
        return RolloutStep({}, f"the canary of {state.name} has {percent} % already")
    if string_map(document, "metadata", "annotations").get(TAG_ROUTING) != "true":
        raise RolloutRefused(
            f"{state.name} lacks the annotation {TAG_ROUTING}, without which transformers do not find the predictor "
            f"of their release: start the canary with yiwen rollout set {state.name} --release, which sets it"
        )
    if percent:
        _refuse_unready(state)
    revisions = ", ".join(component.latest_created for component in state.components)
    return RolloutStep(
        _patch(document, _percent_fields(percent)),
        f"{percent} % of the traffic of {state.name} to {revisions}",
    )


def _refuse_mixed(revisions: Mapping[str, str], releases: Mapping[str, str]) -> None:
    """Refuse revisions (by component) that serve different releases."""
    known = {name: releases[revision] for name, revision in revisions.items() if releases.get(revision)}
    if len(set(known.values())) > 1:
        mixed = " and ".join(f"{revisions[name]} serves {release}" for name, release in known.items())
        raise RolloutRefused(
            f"two releases would mix: {mixed}; set one release for both with --percent 100 --release NAME"
        )


def _refuse_unready(state: RolloutState) -> None:
    for component in state.components:
        if not component.is_ready:
            why = component.failure or "its pods are not ready yet"
            raise RolloutRefused(
                f"{component.latest_created or component.name} is not ready ({why}): wait for it, or take it back "
                f"with yiwen rollout rollback {state.name}"
            )


def _no_canary(state: RolloutState) -> str:
    if not all(component.latest_rolled_out for component in state.components):
        return f"{state.name} has no revision yet that had all traffic"
    return f"{state.name} has no revision newer than the one that has all traffic"


def _share(percent: int) -> int | None:
    """What KServe is told: no share is all traffic."""
    return None if percent == 100 else percent


def _percent_fields(percent: int | None) -> dict[str, dict[str, Any]]:
    return {name: {CANARY_PERCENT: percent} for name in ROLLOUT_COMPONENTS}


def _patch(
    document: Document, spec: Mapping[str, Any], annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A merge patch that the API server refuses (409) if the object has changed since it was read."""
    metadata: dict[str, Any] = {}
    if version := mapping(document, "metadata").get("resourceVersion"):
        metadata["resourceVersion"] = version
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {**({"metadata": metadata} if metadata else {}), "spec": dict(spec)}
