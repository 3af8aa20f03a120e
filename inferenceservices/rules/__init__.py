"""Rules for built manifests: what KServe and Knative refuse or handle wrongly, and this project's own requirements.

Pure functions over documents. Each rule has a name, and :mod:`tests.inferenceservices` has a manifest that breaks it.
The docstring of a rule's module names its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from inferenceservices.rules import (
    containers,
    cross_resource,
    features,
    hardware,
    knative_pod,
    scaling,
    security,
    serving,
    webhook,
)
from inferenceservices.rules.findings import Finding, RuleSet, Violations
from protocol.kubernetes.documents import Document, kind_and_name
from protocol.kubernetes.inference_service import ServiceComponent, inference_services, pod_templates

T = TypeVar("T")

__all__ = ["Finding", "KnativeSettings", "RuleSet", "check", "rule_set"]


@dataclass(frozen=True, slots=True)
class KnativeSettings:
    """Settings of a cluster's Knative that rules depend on."""

    features: Mapping[str, str] = field(default_factory=dict)
    """Data of the ConfigMap config-features."""
    longest_timeout_s: int = 600
    """``max-revision-timeout-seconds`` of config-defaults."""


def rule_set(settings: KnativeSettings) -> RuleSet:
    """All rules, for a cluster with these settings."""
    flags = {"feature-flags": features.feature_flags(settings.features)}
    components = {
        **containers.COMPONENTS,
        **scaling.COMPONENTS,
        **flags,
        **knative_pod.COMPONENTS,
        **serving.components(settings.longest_timeout_s),
    }
    return RuleSet(
        services={**webhook.SERVICES, **containers.SERVICES, **scaling.SERVICES},
        components={name: _of_services(rule) for name, rule in components.items()},
        pods={**containers.PODS, **security.PODS, **hardware.PODS},
        manifests={**security.MANIFESTS, **cross_resource.MANIFESTS},
    )


def check(documents: Iterable[Document], settings: KnativeSettings) -> list[Finding]:
    """The rule violations in ``documents``, in the order of the documents."""
    documents = tuple(documents)
    rules = rule_set(settings)
    findings: list[Finding] = []
    for service in inference_services(documents):
        findings += _apply(rules.services, service, kind_and_name(service.document))
        for component in service.components:
            findings += _apply(rules.components, component, component.pod.location)
    for pod in pod_templates(documents):
        findings += _apply(rules.pods, pod, pod.location)
    findings += _apply(rules.manifests, documents, "manifests")
    return findings


def _apply(rules: Mapping[str, Callable[[T], Violations]], subject: T, where: str) -> Iterator[Finding]:
    for name, rule in rules.items():
        for message in rule(subject):
            yield Finding(name, where, message)


def _of_services(rule: Callable[[ServiceComponent], Violations]) -> Callable[[ServiceComponent], Violations]:
    """The rule for predictors and transformers alone: an explainer is not part of this project."""

    def not_explainers(component: ServiceComponent) -> Violations:
        if component.name != "explainer":
            yield from rule(component)

    return not_explainers
