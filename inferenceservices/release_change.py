"""A change of release, storage or image in the components of an InferenceService.

A release's directory stands in several places (the variable YIWEN_RELEASE of both components, the argument of an
init container that verifies it, a model's storageUri, the label that the release's Service selects); all of them
change together.
"""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inferenceservices.rollout_state import PREDICTOR, ROLLOUT_COMPONENTS, RolloutRefused
from inferenceservices.rules.cross_resource import QUEUE_PROXY_PORT
from protocol.kubernetes.documents import Document, mapping, objects
from protocol.kubernetes.inference_service import (
    SERVING_CONTAINER,
    STANDARD,
    InferenceService,
    inference_services,
)
from protocol.kubernetes.pods import environment
from protocol.kubernetes.release_service import RELEASE_LABEL, release_service_name

RELEASE_VARIABLE = "YIWEN_RELEASE"
CONTAINER_PORT = 8080
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class ReleaseChange:
    """The fields to change; an empty one stays as it is."""

    release: str = ""
    """Directory of the release: its name beside the present one, or an absolute path in the containers."""
    storage: str = ""
    """storageUri of a predictor that has a model; the transformer's release becomes its last part."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Image of the serving container by component."""


def change_components(spec: Mapping[str, Any], change: ReleaseChange) -> dict[str, dict[str, Any]]:
    """The new values of the fields that ``change`` changes, by component; an empty dict where it changes none.

    Args:
        spec: ``spec`` of the InferenceService.
        change: what to change.

    Raises:
        RolloutRefused: a component lacks the field to change, or the release's name is not valid.
    """
    release = _release(change)
    if change.storage and not mapping(spec, PREDICTOR, "model"):
        raise RolloutRefused(
            f"the predictor has no model with a storageUri: name the release with --release NAME, and it becomes "
            f"{RELEASE_VARIABLE} of both components"
        )
    fields: dict[str, dict[str, Any]] = {}
    for name in ROLLOUT_COMPONENTS:
        before = {
            key: value
            for key, value in mapping(spec, name).items()
            if key in ("containers", "initContainers", "labels", "model")
        }
        after = copy.deepcopy(before)
        if release:
            _set_release(name, after, release)
        if change.storage and name == PREDICTOR:
            after["model"]["storageUri"] = change.storage
        if release and name == PREDICTOR:
            after["labels"] = {**after.get("labels", {}), RELEASE_LABEL: posixpath.basename(release)}
        if image := change.images.get(name, ""):
            _serving_container(name, after)["image"] = image
        fields[name] = {key: value for key, value in after.items() if value != before.get(key)}
    return fields


def release_service(document: Document) -> dict[str, Any]:
    """The Service of the release of ``document``, an InferenceService; empty if its pods name none.

    It selects by labels that KServe gives the pods. In Knative mode it leads to the queue-proxy in them.
    """
    (service,) = inference_services([document])
    predictor = service.component(PREDICTOR)
    release = "" if predictor is None else predictor.pod.labels.get(RELEASE_LABEL, "")
    if predictor is None or not release:
        return {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": release_service_name(predictor.knative_service_name, release),
            "labels": {RELEASE_LABEL: release},
        },
        "spec": {
            "selector": {
                "serving.kserve.io/inferenceservice": service.name,
                "component": PREDICTOR,
                RELEASE_LABEL: release,
            },
            "ports": [{"name": "http", "port": 80, "targetPort": _entry_port(service)}],
        },
    }


def _entry_port(service: InferenceService) -> int:
    """The port of a predictor's pod that its Services lead to."""
    return CONTAINER_PORT if service.mode == STANDARD else QUEUE_PROXY_PORT


def release_of(spec: Mapping[str, Any]) -> str:
    """Name of the release that a pod's containers serve; empty if no container names one."""
    named = [environment(container).get(RELEASE_VARIABLE, "") for container in objects(spec, "containers")]
    return next((posixpath.basename(path.rstrip("/")) for path in named if path.strip("/")), "")


def _release(change: ReleaseChange) -> str:
    release = change.release or posixpath.basename(change.storage.rstrip("/"))
    name = posixpath.basename(release)
    is_path = posixpath.isabs(release) and ".." not in release.split("/")
    if release and not (_NAME.fullmatch(name) and (release == name or is_path)):
        raise RolloutRefused(
            f"{release!r} is no release: give the name of its directory, or the absolute path in the containers"
        )
    return release


def _set_release(component: str, fields: dict[str, Any], release: str) -> None:
    """Replace the component's present release by ``release`` in every field."""
    model = fields.get("model")
    if component == PREDICTOR and model and model.get("storageUri"):
        head = str(model["storageUri"]).rstrip("/").rpartition("/")[0]
        model["storageUri"] = f"{head}/{posixpath.basename(release)}"
        return
    old = environment(_serving_container(component, fields)).get(RELEASE_VARIABLE, "").rstrip("/")
    if not old:
        raise RolloutRefused(
            f"the {component} has no {RELEASE_VARIABLE} to change: set it in the manifest, as "
            "inferenceservices/base/inferenceservice.yaml does"
        )
    new = posixpath.join(posixpath.dirname(old), release)
    for container in (*fields.get("containers", ()), *fields.get("initContainers", ())):
        for entry in container.get("env", ()):
            if "value" in entry:
                entry["value"] = _replaced(entry["value"], old, new)
        for key in ("command", "args"):
            if key in container:
                container[key] = [_replaced(word, old, new) for word in container[key]]


def _replaced(word: str, old: str, new: str) -> str:
    """``word`` with ``old`` replaced by ``new``, where it is the whole word or the value of an option."""
    option, equals, value = word.rpartition("=")
    return option + equals + new if value.rstrip("/") == old else word


def _serving_container(component: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The serving container, or the model that KServe makes it of."""
    if component == PREDICTOR and "model" in fields:
        model: dict[str, Any] = fields["model"]
        return model
    containers = fields.get("containers") or []
    if not objects(containers):
        raise RolloutRefused(f"the {component} has no container: write one in the manifest")
    # KServe takes the first container where none has the name.
    chosen: dict[str, Any] = next(
        (c for c in containers if c.get("name") == SERVING_CONTAINER), containers[0]
    )
    return chosen
