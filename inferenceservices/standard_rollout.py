"""Steps that start, move, promote or roll back a canary of a release in KServe's Standard mode.

Each function looks at the cluster as it is and names the one step that is next, until nothing is left to do. So a
command that was interrupted anywhere goes on when it is given again. No step takes traffic to pods that are not
ready, and none ends pods that have traffic:

- A canary gets its weight when all of its pods are ready.
- A promotion changes the stable InferenceService to the canary's release, as any release change, while the canary
  keeps its share. When that is done, the canary loses its weight, and then it is deleted.
- A rollback takes the weight first.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from inferenceservices.release_change import ReleaseChange, change_components
from inferenceservices.rollout_state import DIGEST_ANNOTATION, ROLLOUT_COMPONENTS, RolloutRefused
from inferenceservices.rules.webhook import AUTOSCALER_CLASS
from inferenceservices.standard_state import (
    PERCENT_ANNOTATION,
    TEMPLATE_FIELDS,
    StandardRollout,
    backend_of,
    canary_name,
    digest_of,
    is_rolled_out,
    name_of,
    replicas_of,
)
from protocol.kubernetes.documents import Document, mapping, objects, string_map

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FIXED_SCALE = {AUTOSCALER_CLASS: "none"}
"""The queries of KEDA count the sequences of the namespace, so a canary has a fixed number of pods."""
SCALING_FIELDS = ("autoScaling", "scaleTarget", "scaleMetric", "canaryTrafficPercent")


class Action(Enum):
    """What a step does."""

    WAIT = "wait"
    CREATE = "create"
    """An InferenceService: the canary."""
    CHANGE = "change"
    """An InferenceService, by a merge patch."""
    ROUTE = "route"
    """The weights of all routes, by merge patches."""
    DELETE = "delete"
    """The canary."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class StandardStep:
    """The next step of a rollout."""

    action: Action
    summary: str
    """One sentence for the user."""
    name: str = ""
    """Of the InferenceService that is changed or deleted."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """The InferenceService to create, or a patch of one."""
    routes: tuple[tuple[Document, Mapping[str, Any]], ...] = ()
    """Routes with their patches."""
    before: Mapping[str, str] = field(default_factory=dict)
    """What is to be remembered first, for a rollback."""


def next_of_set(rollout: StandardRollout, percent: int, change: ReleaseChange) -> StandardStep:
    """Towards ``percent`` of the requests for the canary, which ``change`` starts.

    Args:
        rollout: as it is.
        percent: of the requests, 0 to 100; 100 is a promotion, or a release change without a canary.
        change: what the canary runs that the stable InferenceService does not; an empty one means the present canary.

    Raises:
        RolloutRefused: there is no canary, or nothing to route by.
    """
    if not 0 <= percent <= 100:
        raise RolloutRefused(f"{percent} is no share: give a whole percentage from 0 to 100")
    _require_routes(rollout)
    fields = change_components(mapping(rollout.stable, "spec"), change)
    if any(fields.values()):
        wanted = _canary_document(rollout, fields, percent)
        if percent == 100:
            return _change_stable(rollout, wanted)
        if rollout.canary is None:
            return _create(rollout, wanted, percent)
        if digest_of(rollout.canary) != digest_of(wanted):
            return _take_away(rollout)
    elif percent == 100:
        return next_of_promote(rollout)
    if rollout.is_canary_ending:
        return _wait(f"{rollout.canary_name} ends")
    if rollout.canary is None:
        raise RolloutRefused(
            f"{rollout.name} has no canary: name what is new with --release, --storage or an image"
        )
    return _share(rollout, rollout.canary, percent)


def next_of_promote(rollout: StandardRollout) -> StandardStep:
    """Towards the canary's release in the stable InferenceService, and no canary.

    Raises:
        RolloutRefused: the canary has no traffic, as after a rollback, or it is not ready.
    """
    _require_routes(rollout)
    if rollout.canary is None or rollout.is_promoting:
        return _settle(rollout)
    if not rollout.weight:
        raise RolloutRefused(
            f"the canary of {rollout.name} has no traffic: give it a share first "
            f"(yiwen rollout set {rollout.name} --percent 10) and look at it"
        )
    if not is_rolled_out(rollout.canary, rollout.deployments):
        raise RolloutRefused(
            f"{rollout.canary_name} is not ready: wait for it, or take it back with yiwen rollout rollback "
            f"{rollout.name}"
        )
    return _change_stable(rollout, rollout.canary)


def next_of_rollback(rollout: StandardRollout, *, has_acted: bool) -> StandardStep:
    """Towards the release before: without the canary, or after its promotion without its release.

    Args:
        rollout: as it is.
        has_acted: whether this command has done a step already, or seen a canary.

    Raises:
        RolloutRefused: there is nothing to go back to.
    """
    _require_routes(rollout)
    before = rollout.before.get(digest_of(rollout.stable), "")
    if rollout.canary is not None:
        if rollout.weight or rollout.wanted is not None:
            return _route(rollout, None, f"all traffic of {rollout.name} back to it, none to its canary")
        if rollout.is_promoting and before:
            return _change_back(rollout, before)
        # A second rollback is no order to take an earlier promotion back.
        return _take_away(rollout, {digest_of(rollout.stable): ""} if before else None)
    if not has_acted:
        if not before:
            raise RolloutRefused(
                f"{rollout.name} has no canary, and no promotion by yiwen rollout to take back: set the release "
                f"before with yiwen rollout set {rollout.name} --percent 100 --release NAME"
            )
        return _change_back(rollout, before)
    return _settle(rollout)


def next_of_begun(rollout: StandardRollout) -> StandardStep:
    """Towards what the cluster says was begun: a promotion, or a share of the canary."""
    if rollout.canary is None or rollout.is_promoting:
        return _settle(rollout)
    return _share(rollout, rollout.canary, rollout.wanted or 0)


def _require_routes(rollout: StandardRollout) -> None:
    if not rollout.routes:
        raise RolloutRefused(
            f"no HTTPRoute of the namespace leads to {backend_of(rollout.name)}, so that nothing can split the "
            "traffic: apply the overlay with the component gateway-api"
        )


def _create(rollout: StandardRollout, wanted: Document, percent: int) -> StandardStep:
    if any(name.startswith(f"{rollout.canary_name}-") for name in rollout.deployments):
        return _wait("the pods' Deployments of the canary before are still there")
    return StandardStep(
        Action.CREATE,
        f"{rollout.canary_name} beside {rollout.name}; it gets {percent} % of the traffic when it is ready",
        body=wanted,
    )


def _share(rollout: StandardRollout, canary: Document, percent: int) -> StandardStep:
    """Pods for a share, then the share."""
    if rollout.wanted != percent and rollout.weight != percent:
        return _note(rollout, percent)
    if patch := _more_pods(rollout, canary, percent):
        return StandardStep(Action.CHANGE, f"more pods for {rollout.canary_name}", rollout.canary_name, patch)
    if not is_rolled_out(canary, rollout.deployments):
        return _wait(f"{rollout.canary_name} is not ready yet")
    if rollout.weight != percent or rollout.wanted != percent:
        return _route(rollout, percent, f"{percent} % of the traffic of {rollout.name} to its canary")
    return StandardStep(Action.DONE, f"the canary of {rollout.name} has {percent} %")


def _change_stable(rollout: StandardRollout, new: Document) -> StandardStep:
    """The release change of the stable InferenceService to what ``new`` runs."""
    if digest_of(rollout.stable) == digest_of(new):
        return _settle(rollout)
    spec, old = {}, {}
    for name in ROLLOUT_COMPONENTS:
        ours, theirs = mapping(rollout.stable, "spec", name), mapping(new, "spec", name)
        changed = [key for key in TEMPLATE_FIELDS if ours.get(key) != theirs.get(key)]
        spec[name] = {key: theirs.get(key) for key in changed}
        old[name] = {key: ours.get(key) for key in changed}
    before = json.dumps({"digest": digest_of(rollout.stable) or None, "spec": old}, separators=(",", ":"))
    return StandardStep(
        Action.CHANGE,
        f"a release change of {rollout.name} to what its canary runs"
        if rollout.canary
        else f"a release change of {rollout.name}",
        rollout.name,
        _patch(rollout.stable, digest_of(new), spec),
        before={digest_of(new): before},
    )


def _change_back(rollout: StandardRollout, before: str) -> StandardStep:
    remembered = json.loads(before)
    return StandardStep(
        Action.CHANGE,
        f"{rollout.name} back to what it had before the promotion",
        rollout.name,
        _patch(rollout.stable, remembered["digest"], remembered["spec"]),
    )


def _settle(rollout: StandardRollout) -> StandardStep:
    """After a change of the stable InferenceService: its pods, then the canary's end."""
    if not is_rolled_out(rollout.stable, rollout.deployments):
        return _wait(f"{rollout.name} is not of one release yet")
    if rollout.canary is not None or rollout.weight or rollout.wanted is not None:
        return _take_away(rollout)
    return StandardStep(Action.DONE, f"all traffic of {rollout.name} to it, without a canary")


def _take_away(rollout: StandardRollout, before: Mapping[str, str] | None = None) -> StandardStep:
    """The end of a canary: first its weight, then its pods.

    Args:
        rollout: as it is.
        before: what is to be remembered then.
    """
    if rollout.weight or rollout.wanted is not None:
        return _route(rollout, None, f"all traffic to {rollout.name}, none to its canary")
    if not rollout.are_routes_observed:
        return _wait("the gateway has not acted on the routes yet")
    if rollout.is_canary_ending:
        return _wait(f"{rollout.canary_name} ends")
    return StandardStep(
        Action.DELETE, f"{rollout.canary_name} is deleted", rollout.canary_name, before=before or {}
    )


def _canary_document(
    rollout: StandardRollout, fields: Mapping[str, Mapping[str, Any]], percent: int
) -> dict[str, Any]:
    """The InferenceService of a canary: the stable one with changed fields, and as many pods as its share needs."""
    stable = rollout.stable
    metadata = mapping(stable, "metadata")
    spec: dict[str, Any] = copy.deepcopy(dict(mapping(stable, "spec")))
    for name in ROLLOUT_COMPONENTS:
        spec[name] = {
            key: value for key, value in {**spec[name], **fields[name]}.items() if key not in SCALING_FIELDS
        }
    templates = {name: {key: spec[name].get(key) for key in TEMPLATE_FIELDS} for name in ROLLOUT_COMPONENTS}
    digest = hashlib.sha256(json.dumps(templates, sort_keys=True).encode()).hexdigest()[:12]
    for name in ROLLOUT_COMPONENTS:
        count = _pods(rollout, name, percent)
        spec[name] |= {"minReplicas": count, "maxReplicas": count}
    annotations = {
        **string_map(stable, "metadata", "annotations"),
        **FIXED_SCALE,
        DIGEST_ANNOTATION: digest,
    }
    annotations.pop(LAST_APPLIED, None)
    owner = {key: stable[key] for key in ("apiVersion", "kind")} | {
        key: metadata[key] for key in ("name", "uid") if key in metadata
    }
    return {
        "apiVersion": stable["apiVersion"],
        "kind": stable["kind"],
        "metadata": {
            "name": canary_name(name_of(stable)),
            "namespace": metadata.get("namespace"),
            "labels": string_map(stable, "metadata", "labels"),
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def _pods(rollout: StandardRollout, component: str, percent: int) -> int:
    """Pods for a share of the traffic, beside those that the stable InferenceService has now."""
    return max(1, -(-replicas_of(rollout, rollout.stable, component) * percent // 100))


def _more_pods(rollout: StandardRollout, canary: Document, percent: int) -> dict[str, Any]:
    """A patch to the number of pods that a share needs; empty if there are enough."""
    spec = {}
    for name in ROLLOUT_COMPONENTS:
        count = _pods(rollout, name, percent)
        if count > int(mapping(canary, "spec", name).get("minReplicas", 1)):
            spec[name] = {"minReplicas": count, "maxReplicas": count}
    return {"metadata": _version(canary), "spec": spec} if spec else {}


def _note(rollout: StandardRollout, percent: int) -> StandardStep:
    """Write the share that the canary is to have, and route nothing yet."""
    annotation = {"annotations": {PERCENT_ANNOTATION: str(percent)}}
    patches = tuple((route, {"metadata": {**_version(route), **annotation}}) for route in rollout.routes)
    return StandardStep(
        Action.ROUTE, f"{percent} % is what the canary of {rollout.name} is to have", routes=patches
    )


def _route(rollout: StandardRollout, percent: int | None, summary: str) -> StandardStep:
    """Weights for all routes; None takes the canary out of them."""
    patches = tuple((route, _weights(route, rollout.name, percent)) for route in rollout.routes)
    return StandardStep(Action.ROUTE, summary, routes=patches)


def _weights(route: Document, name: str, percent: int | None) -> dict[str, Any]:
    rules = []
    for rule in objects(route, "spec", "rules"):
        backends = [
            {key: value for key, value in each.items() if key != "weight"}
            if each.get("name") == backend_of(name)
            else each
            for each in objects(rule, "backendRefs")
            if each.get("name") != backend_of(canary_name(name))
        ]
        ours = [each for each in backends if each.get("name") == backend_of(name)]
        if ours and percent:
            others = [each for each in backends if each not in ours]
            canary = {**ours[0], "name": backend_of(canary_name(name)), "weight": percent}
            backends = [{**ours[0], "weight": 100 - percent}, canary, *others]
        rules.append({**rule, "backendRefs": backends})
    note = None if percent is None else str(percent)
    return {
        "metadata": {**_version(route), "annotations": {PERCENT_ANNOTATION: note}},
        "spec": {"rules": rules},
    }


def _patch(service: Document, digest: str | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {**_version(service), "annotations": {DIGEST_ANNOTATION: digest}}
    return {"metadata": metadata, "spec": spec}


def _version(document: Document) -> dict[str, Any]:
    """The version that was read, so that the API server refuses a patch (409) of an object that has changed."""
    version = mapping(document, "metadata").get("resourceVersion")
    return {"resourceVersion": version} if version else {}


def _wait(reason: str) -> StandardStep:
    return StandardStep(Action.WAIT, f"wait: {reason}")
