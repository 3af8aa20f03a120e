"""Pod templates and the containers in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.kubernetes.documents import mapping, objects, strings


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod template of a workload or of an InferenceService's component."""

    location: str
    """The object that has it, for messages."""
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    namespace: str

    @property
    def containers(self) -> tuple[Mapping[str, Any], ...]:
        """The containers, without init containers."""
        return objects(self.spec, "containers")

    @property
    def init_containers(self) -> tuple[Mapping[str, Any], ...]:
        """The init containers."""
        return objects(self.spec, "initContainers")

    @property
    def all_containers(self) -> tuple[Mapping[str, Any], ...]:
        """Init containers and containers, in the order in which they start."""
        return self.init_containers + self.containers

    @property
    def volumes(self) -> Mapping[str, Mapping[str, Any]]:
        """Volumes by name."""
        return {str(volume.get("name")): volume for volume in objects(self.spec, "volumes")}


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's environment variables that have a literal value."""
    found = {str(entry.get("name")): entry.get("value") for entry in objects(container, "env")}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def arguments(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's arguments that begin with ``--``, by name; one without ``=`` takes the next as its value."""
    found: dict[str, str] = {}
    name = ""
    for argument in strings(container.get("args")):
        if argument.startswith("--"):
            name, _, value = argument.partition("=")
            found[name] = value
        elif name:
            found[name], name = argument, ""
    return found


def limits(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """``resources.limits``."""
    return mapping(container, "resources", "limits")


def requests(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """``resources.requests``."""
    return mapping(container, "resources", "requests")
