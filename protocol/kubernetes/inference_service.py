"""KServe's InferenceService (serving.kserve.io/v1beta1): components, pods and revisions' annotations.

``revision_annotations`` is ported from ``SetAutoScalingAnnotations`` in ``pkg/controller/v1alpha1/utils/utils.go``
and from ``pkg/controller/v1beta1/inferenceservice/components`` of kserve/kserve aaac4e29.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.kubernetes.documents import Document, kind_and_name, mapping, objects, string_map, strings
from protocol.kubernetes.pods import PodTemplate

DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
KNATIVE, STANDARD = "Knative", "Standard"
SERVING_CONTAINER = "kserve-container"
TRANSFORMER_CONTAINER = "transformer-container"
COMPONENTS = ("predictor", "transformer", "explainer")
DEFAULT_MIN_REPLICAS = 1
"""KServe's default of ``minReplicas``."""

_AUTOSCALING = "autoscaling.knative.dev/"
_KPA_CLASS = "kpa.autoscaling.knative.dev"
_NOT_INHERITED = frozenset({_AUTOSCALING + "min-scale", _AUTOSCALING + "max-scale"})
"""Annotations that KServe does not pass on: it sets them itself from ``minReplicas`` and ``maxReplicas``."""
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True, slots=True)
class ServiceComponent:
    """One component of an InferenceService."""

    name: str
    """``predictor``, ``transformer`` or ``explainer``."""
    service: InferenceService
    declared: Mapping[str, Any]
    """The component's fields as the manifest has them."""
    spec: Mapping[str, Any]
    """``declared`` completed by the ServingRuntime that it names."""

    @property
    def pod(self) -> PodTemplate:
        """The template of its pods."""
        location = f"{kind_and_name(self.service.document)} {self.name}"
        return PodTemplate(location, self.spec, string_map(self.spec, "labels"), self.service.namespace)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of its revisions: its own over the InferenceService's."""
        return {**self.service.annotations, **string_map(self.spec, "annotations")}

    @property
    def knative_service_name(self) -> str:
        """Name of the Knative Service that KServe makes of it."""
        middle = f"-{self.declared['name']}" if self.name == "predictor" and self.declared.get("name") else ""
        return f"{self.service.name}{middle}-{self.name}"


@dataclass(frozen=True, slots=True)
class InferenceService:
    """An InferenceService."""

    document: Document
    runtimes: Mapping[str, Document]
    """ServingRuntimes that it may name, by name."""

    @property
    def name(self) -> str:
        """Its name, which is the model's name in URLs too."""
        return str(mapping(self.document, "metadata").get("name", ""))

    @property
    def namespace(self) -> str:
        """Its namespace; empty if the manifest states none."""
        return str(mapping(self.document, "metadata").get("namespace", ""))

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its own annotations."""
        return string_map(self.document, "metadata", "annotations")

    @property
    def mode(self) -> str:
        """Knative or Standard (older names are translated), or what else is stated; empty if nothing is."""
        return current_mode(self.annotations.get(DEPLOYMENT_MODE, ""))

    @property
    def components(self) -> tuple[ServiceComponent, ...]:
        """The components that the manifest has."""
        spec = mapping(self.document, "spec")
        return tuple(self._component(name, mapping(spec, name)) for name in COMPONENTS if name in spec)

    def component(self, name: str) -> ServiceComponent | None:
        """The component of that name, or None."""
        return next((component for component in self.components if component.name == name), None)

    def _component(self, name: str, declared: Mapping[str, Any]) -> ServiceComponent:
        runtime = self.runtimes.get(str(mapping(declared, "model").get("runtime")))
        spec = declared if runtime is None else _merge_runtime(declared, runtime)
        return ServiceComponent(name, self, declared, spec)


def current_mode(mode: str) -> str:
    """A deployment mode by its present name: ``Serverless`` is Knative and ``RawDeployment`` is Standard."""
    return {"Serverless": KNATIVE, "RawDeployment": STANDARD}.get(mode, mode)


def inference_services(documents: Iterable[Document]) -> tuple[InferenceService, ...]:
    """The InferenceServices among ``documents``, each with the ServingRuntimes among them."""
    documents = tuple(documents)
    runtimes = {
        str(mapping(d, "metadata").get("name")): d for d in documents if d.get("kind") == "ServingRuntime"
    }
    return tuple(InferenceService(d, runtimes) for d in documents if d.get("kind") == "InferenceService")


def pod_templates(documents: Iterable[Document]) -> Iterator[PodTemplate]:
    """Every pod template: of InferenceServices, Deployments, StatefulSets, DaemonSets and Jobs."""
    documents = tuple(documents)
    for service in inference_services(documents):
        for component in service.components:
            yield component.pod
    for document in documents:
        template = mapping(document, "spec", "template")
        if document.get("kind") in _WORKLOADS:
            namespace = str(mapping(document, "metadata").get("namespace", ""))
            labels = string_map(template, "metadata", "labels")
            yield PodTemplate(kind_and_name(document), mapping(template, "spec"), labels, namespace)


def revision_annotations(
    component: ServiceComponent, *, allow_zero_initial_scale: bool = False
) -> dict[str, str]:
    """Annotations that KServe gives the revisions of a component in Knative mode.

    Args:
        component: its ``minReplicas``, ``maxReplicas``, ``scaleTarget`` and ``scaleMetric`` become annotations.
        allow_zero_initial_scale: the setting of ``config-autoscaler``; without it KServe drops an initial scale of 0.
    """
    inherited = dict(component.service.annotations)
    key = _AUTOSCALING + "initial-scale"
    if not _keeps_initial_scale(inherited.get(key), allow_zero=allow_zero_initial_scale):
        inherited.pop(key, None)
    merged = {**inherited, **string_map(component.spec, "annotations")}
    annotations = {key: value for key, value in merged.items() if key not in _NOT_INHERITED}
    annotations.setdefault(_AUTOSCALING + "class", _KPA_CLASS)
    return annotations | {_AUTOSCALING + key: value for key, value in _scale(component.declared).items()}


def _keeps_initial_scale(value: str | None, *, allow_zero: bool) -> bool:
    if value is None or not re.fullmatch(r"[+-]?[0-9]+", value):
        return False
    return int(value) != 0 or allow_zero


def _scale(declared: Mapping[str, Any]) -> dict[str, str]:
    replicas = declared.get("minReplicas")
    scale = {"min-scale": str(DEFAULT_MIN_REPLICAS if replicas is None else replicas)}
    if declared.get("maxReplicas"):
        scale["max-scale"] = str(declared["maxReplicas"])
    for key, field in (("target", "scaleTarget"), ("metric", "scaleMetric")):
        if declared.get(field) is not None:
            scale[key] = str(declared[field])
    return scale


def _merge_runtime(declared: Mapping[str, Any], runtime: Document) -> Mapping[str, Any]:
    """A predictor merged with its ServingRuntime as KServe does it.

    The predictor's fields win over the runtime's; arguments of both are joined, and variables of both merged by name.
    """
    from_runtime = mapping(runtime, "spec")
    model = mapping(declared, "model")
    containers = []
    for container in objects(from_runtime, "containers"):
        if container.get("name") == SERVING_CONTAINER:
            own = {key: model[key] for key in ("image", "ports", "resources") if key in model}
            args = [*strings(container.get("args")), *strings(model.get("args"))]
            variables = {
                str(entry.get("name")): entry for c in (container, model) for entry in objects(c, "env")
            }
            container = {**container, **own, "args": args, "env": list(variables.values())}
        containers.append(container)
    shared = ("affinity", "tolerations", "nodeSelector", "volumes", "imagePullSecrets")
    taken = {key: from_runtime[key] for key in shared if key in from_runtime}
    return {**taken, **declared, "containers": containers}
