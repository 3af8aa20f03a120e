"""Reads scaling settings from manifests: the ConfigMap, Knative Services and InferenceServices.

For an InferenceService the result is what KServe would put on the Knative Service of each component.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from knative.autoscaler.annotations import GROUP
from knative.autoscaler.config import CONFIG_NAME, EXAMPLE_KEY, AutoscalerConfig
from knative.errors import ConfigError
from protocol.kubernetes.documents import Document, DocumentError, load_documents
from protocol.kubernetes.inference_service import (
    DEPLOYMENT_MODE,
    KNATIVE,
    InferenceService,
    ServiceComponent,
    revision_annotations,
)

EXAMPLE_CHECKSUM_KEY = "knative.dev/example-checksum"
COMPONENTS = ("predictor", "transformer")


@dataclass(frozen=True, slots=True)
class ScalableComponent:
    """Settings of one Knative Service that concern scaling and its queue."""

    name: str
    """Of the Knative Service."""
    role: str
    """``predictor``, ``transformer``, or ``service`` for a Knative Service of its own."""
    annotations: Mapping[str, str]
    """Of its revisions' template."""
    container_concurrency: int
    """Hard limit of concurrent requests per pod; 0: none."""
    timeout_seconds: int | None
    """Of a request, queueing in the queue-proxy included; None: the cluster's default (300)."""
    canary_traffic_percent: int | None
    """Of an InferenceService's component; None: no canary."""


def read_autoscaler_config(text: str) -> AutoscalerConfig:
    """The settings of the ConfigMap ``config-autoscaler`` among the YAML documents of ``text``.

    Raises:
        ConfigError: it is absent, or Knative's webhook would refuse it; the message says why and what to write.
    """
    for document in _documents(text):
        metadata = _mapping(document, "metadata")
        if document.get("kind") == "ConfigMap" and metadata.get("name") == CONFIG_NAME:
            data = _strings(document, "data")
            _check_example(data, _strings(metadata, "annotations"))
            return AutoscalerConfig.from_data(data)
    raise ConfigError(f"there is no ConfigMap {CONFIG_NAME} in it; name the file that has it")


def read_components(text: str, config: AutoscalerConfig) -> tuple[ScalableComponent, ...]:
    """The Knative Services of the YAML documents, and those that KServe would create; other kinds are skipped.

    Args:
        text: YAML, as ``kubectl kustomize`` writes it.
        config: the cluster's settings: KServe drops an initial scale of 0 where they do not allow it.

    Raises:
        ConfigError: there are none, or one cannot be scaled by Knative; the message says why and what to write.
    """
    components: list[ScalableComponent] = []
    for document in _documents(text):
        group = str(document.get("apiVersion", "")).partition("/")[0]
        if (group, document.get("kind")) == ("serving.knative.dev", "Service"):
            components.append(_knative_service(document))
        elif (group, document.get("kind")) == ("serving.kserve.io", "InferenceService"):
            components.extend(_inference_service(document, config))
    if not components:
        raise ConfigError(
            "there is no InferenceService and no Knative Service in it; name a manifest that has one, "
            "such as the output of kubectl kustomize"
        )
    return tuple(components)


def example_checksum(example: str) -> str:
    """Knative's checksum of the block ``_example``, by which it detects edits."""
    joined = re.sub(r"(?:\r?\n)+", r"\\n", example.strip())
    return f"{crc32(joined.encode()):08x}"


def _check_example(data: Mapping[str, str], annotations: Mapping[str, str]) -> None:
    if EXAMPLE_KEY not in data or EXAMPLE_CHECKSUM_KEY not in annotations:
        return
    if annotations[EXAMPLE_CHECKSUM_KEY] != example_checksum(data[EXAMPLE_KEY]):
        raise ConfigError(
            f"{EXAMPLE_KEY} of {CONFIG_NAME} was edited, where nothing has an effect; "
            "copy the setting to the top level of data, beside it, and undo the edit"
        )


def _knative_service(document: Mapping[str, Any]) -> ScalableComponent:
    metadata = _mapping(document, "metadata")
    name = _name(metadata)
    for key in _strings(metadata, "annotations"):
        if key.startswith(GROUP):
            raise ConfigError(
                f"Service {name}: {key} has no effect at metadata.annotations; "
                "move it to spec.template.metadata.annotations"
            )
    template = _mapping(_mapping(document, "spec"), "template")
    spec = _mapping(template, "spec")
    return ScalableComponent(
        name=name,
        role="service",
        annotations=_strings(_mapping(template, "metadata"), "annotations"),
        container_concurrency=_whole(spec, "containerConcurrency") or 0,
        timeout_seconds=_whole(spec, "timeoutSeconds"),
        canary_traffic_percent=None,
    )


def _inference_service(document: Mapping[str, Any], config: AutoscalerConfig) -> Iterator[ScalableComponent]:
    metadata = _mapping(document, "metadata")
    name = _name(metadata)
    _strings(metadata, "annotations")
    service = InferenceService(document, {})
    if service.mode not in ("", KNATIVE):
        raise ConfigError(
            f"InferenceService {name} is deployed as {service.mode}, where Knative does not scale it; "
            f'set the annotation {DEPLOYMENT_MODE}: "Knative", or name another manifest'
        )
    spec = _mapping(document, "spec")
    for component in service.components:
        if component.name in COMPONENTS:
            yield _component(component, _mapping(spec, component.name), config)


def _component(
    component: ServiceComponent, spec: Mapping[str, Any], config: AutoscalerConfig
) -> ScalableComponent:
    _strings(spec, "annotations")
    for field in ("scaleTarget", "minReplicas", "maxReplicas"):
        _whole(spec, field)
    return ScalableComponent(
        name=component.knative_service_name,
        role=component.name,
        annotations=revision_annotations(component, allow_zero_initial_scale=config.allow_zero_initial_scale),
        container_concurrency=_whole(spec, "containerConcurrency") or 0,
        timeout_seconds=_whole(spec, "timeout"),
        canary_traffic_percent=_whole(spec, "canaryTrafficPercent"),
    )


def _documents(text: str) -> tuple[Document, ...]:
    try:
        return load_documents(text)
    except DocumentError as error:
        raise ConfigError(str(error)) from None


def _name(metadata: Mapping[str, Any]) -> str:
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError("metadata.name is missing; give the resource its name")
    return name


def _mapping(parent: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = parent.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{field} must be a mapping; indent its fields below it")
    return value


def _strings(parent: Mapping[str, Any], field: str) -> dict[str, str]:
    values = _mapping(parent, field)
    for key, value in values.items():
        if not isinstance(value, str):
            raise ConfigError(f'{field}.{key} must be a string, which Kubernetes insists on; write "{value}"')
    return dict(values)


def _whole(parent: Mapping[str, Any], field: str) -> int | None:
    value = parent.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{field} must be a whole number of at least 0; write one without quotes")
    return value
