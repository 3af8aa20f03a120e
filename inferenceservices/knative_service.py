"""The Knative Services that KServe's controller creates for an InferenceService.

Ported from ``createKnativeService`` in ``ksvc_reconciler.go`` and ``transformer_custom.go`` of kserve/kserve
aaac4e29, for a service that was never deployed (so without a traffic split). What comes from the cluster's
configuration is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.kubernetes.documents import Document, objects, strings
from protocol.kubernetes.inference_service import (
    SERVING_CONTAINER,
    InferenceService,
    ServiceComponent,
    revision_annotations,
)

_OWN_FIELDS = frozenset({
    "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling", "timeout",
    "containerConcurrency", "canaryTrafficPercent", "logger", "batcher", "labels", "annotations", "storageUris",
    "deploymentStrategy", "model", "workerSpec", "name", "storageContainerName",
})  # fmt: skip
"""Fields of a component that are not fields of a pod."""
_SERVICE_ANNOTATIONS = ("serving.knative.dev/rollout-duration",)
"""Annotations of the Knative Service that its revisions do not get."""
_SERVICE_LABELS = ("networking.knative.dev/visibility",)
_HTTP_PORT = "8080"


def knative_services(service: InferenceService) -> tuple[Document, ...]:
    """One Knative Service per component, as KServe would create it."""
    return tuple(_service(component) for component in service.components)


def _service(component: ServiceComponent) -> Document:
    service = component.service
    annotations = revision_annotations(component)
    labels = {
        **_labels(service.document),
        **_labels({"metadata": component.declared}),
        "serving.kserve.io/inferenceservice": service.name,
        "component": component.name,
    }
    timeout = component.declared.get("timeout")
    revision = {
        **{key: value for key, value in component.spec.items() if key not in _OWN_FIELDS},
        "containers": _containers(component),
        "timeoutSeconds": timeout,
        "responseStartTimeoutSeconds": timeout,
        "containerConcurrency": component.declared.get("containerConcurrency"),
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": component.knative_service_name,
            "namespace": service.namespace,
            "labels": labels,
            "annotations": {key: annotations[key] for key in _SERVICE_ANNOTATIONS if key in annotations},
        },
        "spec": {
            "template": {
                "metadata": {
                    "labels": {k: v for k, v in labels.items() if k not in _SERVICE_LABELS},
                    "annotations": {k: v for k, v in annotations.items() if k not in _SERVICE_ANNOTATIONS},
                },
                "spec": {key: value for key, value in revision.items() if value is not None},
            },
            "traffic": [{"latestRevision": True, "percent": 100, **_tag(annotations)}],
        },
    }


def appended_arguments(component: ServiceComponent) -> tuple[str, ...]:
    """The arguments that KServe appends to a transformer's, without those that it already has."""
    service = component.service
    given = strings(component.pod.containers[0].get("args")) if component.pod.containers else ()
    wanted = [
        ("--model_name", service.name),
        ("--predictor_host", f"{service.name}-predictor.{service.namespace}"),
        ("--http_port", _HTTP_PORT),
    ]
    if component.declared.get("containerConcurrency") is not None:
        wanted.append(("--workers", str(component.declared["containerConcurrency"])))
    missing = [pair for pair in wanted if not any(argument.startswith(pair[0]) for argument in given)]
    return tuple(part for pair in missing for part in pair)


def _containers(component: ServiceComponent) -> list[Mapping[str, Any]]:
    first, *others = objects(component.spec, "containers") or ({},)
    environment = [
        *objects(first, "env"),
        {"name": "INFERENCE_SERVICE_NAME", "value": component.service.name},
    ]
    changed: dict[str, Any] = {**first, "name": SERVING_CONTAINER, "env": environment}
    if component.name == "transformer":
        changed["args"] = [*strings(first.get("args")), *appended_arguments(component)]
    return [changed, *others]


def _labels(document: Document) -> Mapping[str, str]:
    metadata = document.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}


def _tag(annotations: Mapping[str, str]) -> dict[str, str]:
    return {"tag": "latest"} if annotations.get("serving.kserve.io/enable-tag-routing") == "true" else {}
