"""What a rule finds, and the forms that rules have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocol.kubernetes.documents import Document
from protocol.kubernetes.inference_service import InferenceService, ServiceComponent
from protocol.kubernetes.pods import PodTemplate


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that manifests break, where, and how to mend it."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"


Violations: TypeAlias = Iterator[str]
"""Messages that say what is wrong and how to mend it."""
ServiceRule: TypeAlias = Callable[[InferenceService], Violations]
ComponentRule: TypeAlias = Callable[[ServiceComponent], Violations]
PodRule: TypeAlias = Callable[[PodTemplate], Violations]
ManifestsRule: TypeAlias = Callable[[tuple[Document, ...]], Violations]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules by their names, which are what people look up; each kind is asked about what its type says."""

    services: Mapping[str, ServiceRule]
    components: Mapping[str, ComponentRule]
    pods: Mapping[str, PodRule]
    manifests: Mapping[str, ManifestsRule]


def quoted(names: Iterable[Any]) -> str:
    """Names for a message."""
    return ", ".join(sorted(str(name) for name in names))
