"""The Knative Services that KServe's controller makes of an InferenceService, to be checked before it makes them.

Ported from ``createKnativeService`` in ``ksvc_reconciler.go``, ``SetAutoScalingAnnotations`` in
``pkg/controller/v1alpha1/utils/utils.go`` and ``transformer_custom.go`` of kserve/kserve aaac4e29, for a service that
was never deployed (so without a split of traffic). What comes from the cluster's configuration is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferenceservices.manifests import (
    SERVING_CONTAINER,
    Component,
    Document,
    InferenceService,
    objects,
    strings,
)

_OWN_FIELDS = frozenset({
    "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling", "timeout",
    "containerConcurrency", "canaryTrafficPercent", "logger", "batcher", "labels", "annotations", "storageUris",
    "deploymentStrategy", "model", "workerSpec", "name", "storageContainerName",
})  # fmt: skip
"""Fields of a component that are no fields of a pod."""
_SCALE = "autoscaling.knative.dev/"
_OF_THE_SERVICE = ("serving.knative.dev/rollout-duration",)
"""Annotations that belong to the Knative Service, not to its revisions."""
_NOT_FOR_REVISIONS = ("networking.knative.dev/visibility",)
_HTTP_PORT = "8080"


def knative_services(service: InferenceService) -> tuple[Document, ...]:
    """One Knative Service per component, as KServe would apply it."""
    return tuple(_service(component) for component in service.components)


def _service(component: Component) -> Document:
    service = component.service
    annotations = {**component.annotations, **_scaling_annotations(component.written)}
    labels = {
        **_labels(service.document),
        **_labels({"metadata": component.written}),
        "serving.kserve.io/inferenceservice": service.name,
        "component": component.name,
    }
    timeout = component.written.get("timeout")
    revision = {
        **{key: value for key, value in component.spec.items() if key not in _OWN_FIELDS},
        "containers": _containers(component),
        "timeoutSeconds": timeout,
        "responseStartTimeoutSeconds": timeout,
        "containerConcurrency": component.written.get("containerConcurrency"),
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": f"{service.name}-{component.name}",
            "namespace": service.namespace,
            "labels": labels,
            "annotations": {key: annotations[key] for key in _OF_THE_SERVICE if key in annotations},
        },
        "spec": {
            "template": {
                "metadata": {
                    "labels": {k: v for k, v in labels.items() if k not in _NOT_FOR_REVISIONS},
                    "annotations": {k: v for k, v in annotations.items() if k not in _OF_THE_SERVICE},
                },
                "spec": {key: value for key, value in revision.items() if value is not None},
            },
            "traffic": [{"latestRevision": True, "percent": 100, **_tag(annotations)}],
        },
    }


def appended_arguments(component: Component) -> tuple[str, ...]:
    """What KServe appends to a transformer's arguments: those that it does not have already."""
    service = component.service
    given = strings(component.pod.containers[0].get("args")) if component.pod.containers else ()
    wanted = [
        ("--model_name", service.name),
        ("--predictor_host", f"{service.name}-predictor.{service.namespace}"),
        ("--http_port", _HTTP_PORT),
    ]
    if component.written.get("containerConcurrency") is not None:
        wanted.append(("--workers", str(component.written["containerConcurrency"])))
    missing = [pair for pair in wanted if not any(argument.startswith(pair[0]) for argument in given)]
    return tuple(part for pair in missing for part in pair)


def _containers(component: Component) -> list[Mapping[str, Any]]:
    first, *others = objects(component.spec, "containers") or ({},)
    environment = [
        *objects(first, "env"),
        {"name": "INFERENCE_SERVICE_NAME", "value": component.service.name},
    ]
    changed: dict[str, Any] = {**first, "name": SERVING_CONTAINER, "env": environment}
    if component.name == "transformer":
        changed["args"] = [*strings(first.get("args")), *appended_arguments(component)]
    return [changed, *others]


def _scaling_annotations(spec: Mapping[str, Any]) -> dict[str, str]:
    """Annotations that KServe makes of fields; the class is only set where none was chosen."""
    made = {"min-scale": str(spec.get("minReplicas", 1))}
    if spec.get("maxReplicas"):
        made["max-scale"] = str(spec["maxReplicas"])
    if "scaleTarget" in spec:
        made["target"] = str(spec["scaleTarget"])
    if "scaleMetric" in spec:
        made["metric"] = str(spec["scaleMetric"])
    return {_SCALE + key: value for key, value in made.items()}


def _labels(document: Document) -> Mapping[str, str]:
    metadata = document.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}


def _tag(annotations: Mapping[str, str]) -> dict[str, str]:
    return {"tag": "latest"} if annotations.get("serving.kserve.io/enable-tag-routing") == "true" else {}
