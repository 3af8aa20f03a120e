"""What the manifests of a deployment say about scaling: the ConfigMap, Knative Services and InferenceServices.

Texts come in, frozen values go out. For an InferenceService the result is what KServe would put on the Knative
Service that it makes of each component (KServe's ``pkg/controller/v1alpha1/utils/utils.go`` and
``pkg/controller/v1beta1/inferenceservice/components``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import yaml

from knative.annotations import GROUP
from knative.config import CONFIG_NAME, EXAMPLE_KEY, KPA_CLASS, AutoscalerConfig
from knative.errors import ConfigError

EXAMPLE_CHECKSUM_KEY = "knative.dev/example-checksum"
DEPLOYMENT_MODE_KEY = "serving.kserve.io/deploymentMode"
COMPONENTS = ("predictor", "transformer")
DEFAULT_MIN_REPLICAS = 1
"""KServe's, for a component without ``minReplicas``."""
INITIAL_SCALE_KEY = GROUP + "initial-scale"
DROPPED = frozenset({GROUP + "min-scale", GROUP + "max-scale"})
"""Annotations that KServe does not pass on: it writes them itself from ``minReplicas`` and ``maxReplicas``."""


@dataclass(frozen=True, slots=True)
class Component:
    """One Knative Service, as far as scaling and its queue are concerned."""

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
        ConfigError: it is not there, or Knative's webhook would refuse it; the message says why and what to write.
    """
    for document in _documents(text):
        metadata = _mapping(document, "metadata")
        if document.get("kind") == "ConfigMap" and metadata.get("name") == CONFIG_NAME:
            data = _strings(document, "data")
            _check_example(data, _strings(metadata, "annotations"))
            return AutoscalerConfig.from_data(data)
    raise ConfigError(f"there is no ConfigMap {CONFIG_NAME} in it; name the file that has it")


def read_components(text: str, config: AutoscalerConfig) -> tuple[Component, ...]:
    """The Knative Services that the YAML documents of ``text`` come to; other kinds are passed over.

    Args:
        text: YAML, as ``kubectl kustomize`` writes it.
        config: the cluster's settings: KServe drops an initial scale of 0 where they do not allow it.

    Raises:
        ConfigError: there are none, or one cannot be scaled by Knative; the message says why and what to write.
    """
    components: list[Component] = []
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
    """What Knative writes beside the block ``_example`` to notice edits of it."""
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


def _knative_service(document: Mapping[str, Any]) -> Component:
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
    return Component(
        name=name,
        role="service",
        annotations=_strings(_mapping(template, "metadata"), "annotations"),
        container_concurrency=_whole(spec, "containerConcurrency") or 0,
        timeout_seconds=_whole(spec, "timeoutSeconds"),
        canary_traffic_percent=None,
    )


def _inference_service(document: Mapping[str, Any], config: AutoscalerConfig) -> Iterator[Component]:
    metadata = _mapping(document, "metadata")
    name = _name(metadata)
    annotations = _strings(metadata, "annotations")
    mode = annotations.get(DEPLOYMENT_MODE_KEY, "Knative")
    if mode not in ("Knative", "Serverless"):
        raise ConfigError(
            f"InferenceService {name} is deployed as {mode}, where Knative does not scale it; "
            f'set the annotation {DEPLOYMENT_MODE_KEY}: "Knative", or name another manifest'
        )
    if not _keeps_initial_scale(annotations.get(INITIAL_SCALE_KEY), config):
        annotations = {key: value for key, value in annotations.items() if key != INITIAL_SCALE_KEY}
    spec = _mapping(document, "spec")
    for role in COMPONENTS:
        if role in spec:
            yield _component(name, role, annotations, _mapping(spec, role))


def _keeps_initial_scale(value: str | None, config: AutoscalerConfig) -> bool:
    """KServe silently drops one at the InferenceService that is no number, or a 0 that is not allowed."""
    if value is None or not re.fullmatch(r"[+-]?[0-9]+", value):
        return False
    return int(value) != 0 or config.allow_zero_initial_scale


def _component(name: str, role: str, inherited: Mapping[str, str], spec: Mapping[str, Any]) -> Component:
    own = _strings(spec, "annotations")
    annotations = {key: value for key, value in {**inherited, **own}.items() if key not in DROPPED}
    annotations.setdefault(GROUP + "class", KPA_CLASS)
    if (target := _whole(spec, "scaleTarget")) is not None:
        annotations[GROUP + "target"] = str(target)
    if (metric := spec.get("scaleMetric")) is not None:
        annotations[GROUP + "metric"] = str(metric)
    replicas = _whole(spec, "minReplicas")
    annotations[GROUP + "min-scale"] = str(DEFAULT_MIN_REPLICAS if replicas is None else replicas)
    if most := _whole(spec, "maxReplicas"):
        annotations[GROUP + "max-scale"] = str(most)
    middle = f"-{spec['name']}" if role == "predictor" and spec.get("name") else ""
    return Component(
        name=f"{name}{middle}-{role}",
        role=role,
        annotations=annotations,
        container_concurrency=_whole(spec, "containerConcurrency") or 0,
        timeout_seconds=_whole(spec, "timeout"),
        canary_traffic_percent=_whole(spec, "canaryTrafficPercent"),
    )


def _documents(text: str) -> Iterator[Mapping[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(f"this is not YAML{where}; check the indentation and the quotes there") from None
    for document in documents:
        if isinstance(document, dict):
            items = document.get("items") if document.get("kind") == "List" else [document]
            yield from (item for item in items or [] if isinstance(item, dict))


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
