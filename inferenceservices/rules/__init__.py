"""Rules that built manifests must keep: what KServe and Knative refuse or get wrong, and what we ask for ourselves.

Pure functions over documents; each rule has a name, under which :mod:`tests.inferenceservices` has a manifest that
breaks it. Where a rule comes from is in the docstring of its module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from inferenceservices.rules import (
    containers,
    features,
    hardware,
    knative_pod,
    scaling,
    security,
    serving,
    together,
    webhook,
)
from inferenceservices.rules.findings import Faults, Finding, RuleBook
from protocol.kubernetes.documents import Document, kind_and_name
from protocol.kubernetes.inference_service import ServiceComponent, inference_services, pod_templates

T = TypeVar("T")

__all__ = ["Cluster", "Finding", "RuleBook", "check", "rule_book"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster's Knative is set to."""

    features: Mapping[str, str] = field(default_factory=dict)
    """Data of the ConfigMap config-features."""
    longest_timeout_s: int = 600
    """``max-revision-timeout-seconds`` of config-defaults."""


def rule_book(cluster: Cluster) -> RuleBook:
    """All rules, for a cluster that is set up like ``cluster``."""
    flags = {"feature-flags": features.feature_flags(cluster.features)}
    components = {
        **containers.COMPONENTS,
        **scaling.COMPONENTS,
        **flags,
        **knative_pod.COMPONENTS,
        **serving.components(cluster.longest_timeout_s),
    }
    return RuleBook(
        services={**webhook.SERVICES, **containers.SERVICES, **scaling.SERVICES},
        components={name: _of_services(rule) for name, rule in components.items()},
        pods={**containers.PODS, **security.PODS, **hardware.PODS},
        sets={**security.SETS, **together.SETS},
    )


def check(documents: Iterable[Document], cluster: Cluster) -> list[Finding]:
    """Everything in ``documents`` that breaks a rule, in the order of the documents."""
    documents = tuple(documents)
    book = rule_book(cluster)
    findings: list[Finding] = []
    for service in inference_services(documents):
        findings += _apply(book.services, service, kind_and_name(service.document))
        for component in service.components:
            findings += _apply(book.components, component, component.pod.location)
    for pod in pod_templates(documents):
        findings += _apply(book.pods, pod, pod.location)
    findings += _apply(book.sets, documents, "manifests")
    return findings


def _apply(rules: Mapping[str, Callable[[T], Faults]], subject: T, where: str) -> Iterator[Finding]:
    for name, rule in rules.items():
        for message in rule(subject):
            yield Finding(name, where, message)


def _of_services(rule: Callable[[ServiceComponent], Faults]) -> Callable[[ServiceComponent], Faults]:
    """The rule for components that are services of ours; an explainer is none."""

    def only_ours(component: ServiceComponent) -> Faults:
        if component.name != "explainer":
            yield from rule(component)

    return only_ours
