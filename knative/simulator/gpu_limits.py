"""What a manifest's predictor asks of its node: which slice of a GPU. A profile must be of the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from knative.profile import Profile
from knative.simulator.errors import SimulationError

VENDOR = "nvidia.com/"
WHOLE = VENDOR + "gpu"
SLICE = VENDOR + "mig-"
FULL = "full"
"""A profile's name for a whole GPU."""


def resource_of(profile: Profile) -> str:
    """The extended resource that pods ask for to get what the profile was measured on."""
    return WHOLE if profile.slice == FULL else SLICE + profile.slice


def check_limits(manifest: str, text: str, profiles: Sequence[Profile]) -> None:
    """Refuse profiles of another slice than the manifest's.

    Args:
        manifest: its name, for messages.
        text: its YAML, which has been read before. No GPU among the predictor's limits: it runs on a CPU, or nobody
            has decided yet, and any profile will do.
        profiles: of the revisions, the stable one's first. With a canary one of them is enough: the manifest is the
            stable release's or the canary's.

    Raises:
        SimulationError: none of the profiles is of that slice.
    """
    limits = sorted(set(_gpu_limits(text)))
    wanted = [resource_of(profile) for profile in profiles]
    if not limits or set(limits) & set(wanted):
        return
    raise SimulationError(
        f"the predictor of {manifest} asks for {limits[0]}, profile {profiles[0].name} is of slice "
        f"{profiles[0].slice}: give the profile of {_slice_of(limits[0])}, or a manifest whose limit is {wanted[0]}"
    )


def _slice_of(resource: str) -> str:
    return "a whole GPU" if resource == WHOLE else f"slice {resource.removeprefix(SLICE)}"


def _gpu_limits(text: str) -> Iterator[str]:
    """Resources of the vendor that the predictor's containers are limited to, above 0."""
    for document in yaml.safe_load_all(text):
        items = _at(document, "items") if _at(document, "kind") == "List" else [document]
        for item in items or []:
            for container in _containers(item):
                limits = _at(container, "resources", "limits")
                for name, value in limits.items() if isinstance(limits, Mapping) else ():
                    if str(name).startswith(VENDOR) and str(value) != "0":
                        yield str(name)


def _containers(document: object) -> Iterator[object]:
    """Of an InferenceService's predictor, its model server included, or of a Knative Service of its own."""
    if _at(document, "kind") == "InferenceService":
        yield _at(document, "spec", "predictor", "model")
        yield from _at(document, "spec", "predictor", "containers") or []
    elif _at(document, "kind") == "Service":
        yield from _at(document, "spec", "template", "spec", "containers") or []


def _at(document: object, *path: str) -> Any:  # noqa: ANN401
    """What is at a path; None where a part of it is missing."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document
