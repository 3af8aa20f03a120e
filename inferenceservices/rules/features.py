"""Rules for Knative's feature flags: the ones that a pod needs.

Keys, defaults and what they guard: ``pkg/apis/config/features.go``, ``pkg/apis/serving/fieldmask.go`` and
``k8s_validation.go`` of knative/serving 98e5ef90.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from inferenceservices.rules.findings import ComponentRule, Violations, quoted
from protocol.kubernetes.documents import mapping, objects
from protocol.kubernetes.inference_service import KNATIVE, ServiceComponent
from protocol.kubernetes.pods import PodTemplate

POD = "kubernetes.podspec-"
ADD_CAPABILITIES = "kubernetes.containerspec-addcapabilities"

DEFAULTS = {"multi-container": "enabled", POD + "volumes-emptydir": "enabled"}
"""Flags that are enabled by default; all others are disabled."""

MUST_BE_ENABLED = (
    "multi-container",
    "multi-container-probing",
    POD + "init-containers",
    POD + "persistent-volume-claim",
    POD + "persistent-volume-write",
    POD + "volumes-csi",
    POD + "volumes-emptydir",
    POD + "volumes-ephemeral",
    POD + "volumes-hostpath",
    POD + "volumes-image",
    POD + "volumes-mount-propagation",
)
"""Flags for which ``allowed`` is not enough."""

FIELDS = {
    "affinity": "affinity",
    "nodeSelector": "nodeselector",
    "tolerations": "tolerations",
    "topologySpreadConstraints": "topologyspreadconstraints",
    "runtimeClassName": "runtimeclassname",
    "securityContext": "securitycontext",
    "initContainers": "init-containers",
    "schedulerName": "schedulername",
    "priorityClassName": "priorityclassname",
    "dnsPolicy": "dnspolicy",
    "dnsConfig": "dnsconfig",
    "hostIPC": "hostipc",
    "hostPID": "hostpid",
    "hostNetwork": "hostnetwork",
    "shareProcessNamespace": "shareprocessnamespace",
    "hostAliases": "hostaliases",
}
"""Flag of each field of a pod, without the prefix ``kubernetes.podspec-``."""

VOLUMES = {
    "emptyDir": "volumes-emptydir",
    "persistentVolumeClaim": "persistent-volume-claim",
    "hostPath": "volumes-hostpath",
    "csi": "volumes-csi",
    "ephemeral": "volumes-ephemeral",
    "image": "volumes-image",
}
"""Flag of each kind of volume; secret, configMap and projected need none."""


def needed_features(pod: PodTemplate) -> dict[str, str]:
    """The flags that a pod needs, with a field that needs each."""
    needed: dict[str, str] = {}
    for source in (_of_fields, _of_volumes, _of_containers):
        for flag, field in source(pod):
            needed.setdefault(flag, field)
    return needed


def missing_features(pod: PodTemplate, features: Mapping[str, str]) -> dict[str, str]:
    """As :func:`needed_features`, without the flags that ``features`` (data of config-features) enables."""
    settings = {**DEFAULTS, **{key: str(value).lower() for key, value in features.items()}}

    def is_on(flag: str) -> bool:
        value = settings.get(flag, "disabled")
        return value == "enabled" or (value == "allowed" and flag not in MUST_BE_ENABLED)

    return {flag: field for flag, field in needed_features(pod).items() if not is_on(flag)}


def feature_flags(features: Mapping[str, str]) -> ComponentRule:
    """The rule that ``features`` (data of config-features) enables the flags that a component's pods need."""

    def rule(component: ServiceComponent) -> Violations:
        if component.service.mode != KNATIVE:
            return
        for flag, field in missing_features(component.pod, features).items():
            yield f"{field} needs {flag}: enabled in Knative's config-features (knative/config-features.yaml)"

    return rule


def knative_configuration(known: Mapping[str, frozenset[str]]) -> Callable[[Mapping[str, Any]], Violations]:
    """The rule that a ConfigMap of Knative has only ``known`` keys (by the ConfigMap's name)."""

    def rule(document: Mapping[str, Any]) -> Violations:
        name = str(mapping(document, "metadata").get("name"))
        unknown = set(mapping(document, "data")) - known.get(name, frozenset())
        if unknown:
            yield f"Knative's {name} has no key {quoted(unknown)}: look the name up in its _example"

    return rule


def _of_fields(pod: PodTemplate) -> Iterator[tuple[str, str]]:
    for field, flag in FIELDS.items():
        if pod.spec.get(field):
            yield POD + flag, field
    if len(pod.containers) > 1:
        yield "multi-container", "a second container"


def _of_volumes(pod: PodTemplate) -> Iterator[tuple[str, str]]:
    for name, volume in pod.volumes.items():
        for kind in VOLUMES:
            if kind in volume:
                yield POD + VOLUMES[kind], f"the {kind} of volume {name}"
        claim = mapping(volume, "persistentVolumeClaim")
        if "persistentVolumeClaim" in volume and claim.get("readOnly") is not True:
            yield (
                POD + "persistent-volume-write",
                f"volume {name} (without readOnly: true a claim counts as written)",
            )


def _of_containers(pod: PodTemplate) -> Iterator[tuple[str, str]]:
    for container in pod.all_containers:
        name = container.get("name")
        for entry in objects(container, "env"):
            source = mapping(entry, "valueFrom")
            if "fieldRef" in source or "resourceFieldRef" in source:
                yield POD + "fieldref", f"the variable {entry.get('name')} of {name}"
        if mapping(container, "securityContext", "capabilities").get("add"):
            yield ADD_CAPABILITIES, f"capabilities.add of {name}"
        if any("mountPropagation" in mount for mount in objects(container, "volumeMounts")):
            yield POD + "volumes-mount-propagation", f"mountPropagation of {name}"
    serving = [c for c in pod.containers if objects(c, "ports")]
    for container in pod.containers:
        beside = len(pod.containers) > 1 and container not in serving
        if beside and ("livenessProbe" in container or "readinessProbe" in container):
            yield "multi-container-probing", f"a probe of {container.get('name')}, which has no port"
