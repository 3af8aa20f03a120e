"""Findings of rules, and the types of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocol.kubernetes.documents import Document
from protocol.kubernetes.inference_service import InferenceService, ServiceComponent
from protocol.kubernetes.pods import PodTemplate


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation of a rule: which, where, and how to fix it."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"


Violations: TypeAlias = Iterator[str]
"""Messages that say what is wrong and how to fix it."""
ServiceRule: TypeAlias = Callable[[InferenceService], Violations]
ComponentRule: TypeAlias = Callable[[ServiceComponent], Violations]
PodRule: TypeAlias = Callable[[PodTemplate], Violations]
ManifestsRule: TypeAlias = Callable[[tuple[Document, ...]], Violations]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules by name, grouped by what they are applied to."""

    services: Mapping[str, ServiceRule]
    components: Mapping[str, ComponentRule]
    pods: Mapping[str, PodRule]
    manifests: Mapping[str, ManifestsRule]


def quoted(names: Iterable[Any]) -> str:
    """Sorted names for a message, separated by commas."""
    return ", ".join(sorted(str(name) for name in names))
