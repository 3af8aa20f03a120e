"""Checks that a profile is of the GPU slice that a manifest's predictor requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from knative.profiling.profile import PredictorProfile
from knative.simulator.errors import SimulationError
from protocol.kubernetes.documents import Document, load_documents, mapping, objects
from protocol.kubernetes.pods import limits

VENDOR = "nvidia.com/"
WHOLE = VENDOR + "gpu"
SLICE = VENDOR + "mig-"
FULL = "full"
"""A profile's name for a whole GPU."""


def resource_of(profile: PredictorProfile) -> str:
    """The extended resource of the slice that a profile was measured on."""
    return WHOLE if profile.slice == FULL else SLICE + profile.slice


def check_limits(manifest: str, text: str, profiles: Sequence[PredictorProfile]) -> None:
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
    limited = sorted(set(_gpu_limits(text)))
    wanted = [resource_of(profile) for profile in profiles]
    if not limited or set(limited) & set(wanted):
        return
    raise SimulationError(
        f"the predictor of {manifest} asks for {limited[0]}, profile {profiles[0].name} is of slice "
        f"{profiles[0].slice}: give the profile of {_slice_of(limited[0])}, or a manifest whose limit is {wanted[0]}"
    )


def _slice_of(resource: str) -> str:
    return "a whole GPU" if resource == WHOLE else f"slice {resource.removeprefix(SLICE)}"


def _gpu_limits(text: str) -> Iterator[str]:
    """Resources of the vendor that the predictor's containers are limited to, above 0."""
    for document in load_documents(text):
        for container in _containers(document):
            for name, value in limits(container).items():
                if str(name).startswith(VENDOR) and str(value) != "0":
                    yield str(name)


def _containers(document: Document) -> Iterator[Mapping[str, Any]]:
    """Of an InferenceService's predictor, its model server included, or of a Knative Service of its own."""
    if document.get("kind") == "InferenceService":
        yield mapping(document, "spec", "predictor", "model")
        yield from objects(document, "spec", "predictor", "containers")
    elif document.get("kind") == "Service":
        yield from objects(document, "spec", "template", "spec", "containers")
