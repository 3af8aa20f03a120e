"""Rules of KServe's validating webhook, without those for scaling (:mod:`inferenceservices.rules.scaling`).

From ``inference_service_validation.go`` of kserve/kserve aaac4e29.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from inferenceservices.resources import GPU_RESOURCES, is_extended
from inferenceservices.rules.findings import ServiceRule, Violations, quoted
from protocol.kubernetes.documents import mapping, objects
from protocol.kubernetes.inference_service import DEPLOYMENT_MODE, InferenceService
from protocol.kubernetes.pods import limits, requests

AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
AUTOSCALERS = ("hpa", "external", "keda", "none")
FRAMEWORKS = (
    "model", "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm",
    "paddle",
)  # fmt: skip
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KBS = re.compile(r"kbs:///[^/]+/[^/]+/[^/]+")
LONGEST_LABEL = 63


def name(service: InferenceService) -> Violations:
    """The name is valid for KServe, and the host names derived from it are not too long."""
    if not _NAME.fullmatch(service.name):
        yield "metadata.name must begin with a letter and hold small letters, digits and - only"
    longest = f"latest-{service.name}-transformer"
    if len(longest) > LONGEST_LABEL:
        room = LONGEST_LABEL - len(longest) + len(service.name)
        yield f"metadata.name must have at most {room} characters: {longest} is a host name's label"


def deployment_mode(service: InferenceService) -> Violations:
    """The deployment mode is stated: clusters differ in the default, and it cannot be changed later."""
    if service.mode not in ("Knative", "Standard", "ModelMesh"):
        yield f"set the annotation {DEPLOYMENT_MODE} to Knative or Standard: clusters differ in their default"


def autoscaler_class(service: InferenceService) -> Violations:
    """The autoscaler class is one that KServe's annotation accepts."""
    given = service.annotations.get(AUTOSCALER_CLASS)
    if given is not None and given not in AUTOSCALERS:
        yield (
            f"the annotation {AUTOSCALER_CLASS} must be one of {quoted(AUTOSCALERS)}; "
            "Knative's KPA is chosen by autoscaling.knative.dev/class"
        )


def python_path(service: InferenceService) -> Violations:
    """No container sets PYTHONPATH."""
    for where, container in _all_containers(service):
        if any(entry.get("name") == "PYTHONPATH" for entry in objects(container, "env")):
            yield f"{where} must not set PYTHONPATH: KServe refuses it; install packages into the image"


def multi_node(service: InferenceService) -> Violations:
    """A multi-node predictor (``workerSpec``) has what KServe requires of it."""
    predictor = mapping(service.document, "spec", "predictor")
    if "workerSpec" not in predictor:
        return
    worker, model = mapping(predictor, "workerSpec"), mapping(predictor, "model")
    if len(objects(worker, "containers")) > 1:
        yield "workerSpec must have one container"
    for size in ("pipelineParallelSize", "tensorParallelSize"):
        if isinstance(worker.get(size), int) and worker[size] < 1:
            yield f"workerSpec.{size} must be 1 or more"
    if not model:
        return
    variables = {str(entry.get("name")) for entry in objects(model, "env")}
    for variable in sorted(variables & {"PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE"}):
        yield f"set the size in workerSpec, not in {variable}"
    unknown = {n for n in {*requests(model), *limits(model)} if is_extended(n)} - {*GPU_RESOURCES}
    if unknown:
        yield f"KServe knows no GPU {quoted(unknown)}: list it in serving.kserve.io/gpu-resource-types"
    if str(model.get("storageUri", "")).partition("://")[0] not in ("pvc", "oci"):
        yield "model.storageUri must be pvc:// or oci://: all nodes read the same files"
    if service.annotations.get(AUTOSCALER_CLASS) != "none":
        yield f"set the annotation {AUTOSCALER_CLASS} to none: a group of nodes is not scaled"


def model_container_name(service: InferenceService) -> Violations:
    """A model states no container name: KServe fixes it."""
    for key, framework in _frameworks(service):
        if "name" in framework:
            yield f"remove the name from spec.predictor.{key}: its container's name is fixed"


def storage_uris(service: InferenceService) -> Violations:
    """Entries of ``storageUris`` have valid mount paths, all different, below one directory."""
    for component in service.components:
        uris = objects(component.declared, "storageUris")
        single = any(framework.get("storageUri") for _, framework in _frameworks(service))
        if uris and component.name == "predictor" and single:
            yield "use storageUri or storageUris, not both"
        for entry in uris:
            path = str(entry.get("mountPath", "/mnt/models"))
            if not entry.get("uri"):
                yield f"{component.name}: an entry of storageUris has no uri"
            if path == "/" or not path.startswith("/") or ".." in path:
                yield f"{component.name}: mountPath {path} must be absolute, below / and without .."
        yield from _paths_together(component.name, uris)


def _paths_together(component: str, uris: tuple[Mapping[str, Any], ...]) -> Violations:
    places: dict[bool, list[str]] = {True: [], False: []}
    for entry in uris:
        is_claim = str(entry.get("uri", "")).startswith("pvc://")
        places[is_claim].append(str(entry.get("mountPath", "/mnt/models")))
    if len(places[False]) <= 1:
        return  # as in KServe, which checks the volumes' paths only after this
    if len(set(places[True])) < len(places[True]):
        yield f"{component}: two volumes of storageUris have the same mountPath"
    absolute = [path for path in places[False] if path.startswith("/")]
    if len(absolute) > 1 and posixpath.commonpath(absolute) == "/":
        yield f"{component}: the mountPaths of storageUris must share a directory below /"


def confidential(service: InferenceService) -> Violations:
    """A confidential model has a storageUri and a valid key resource."""
    for key, framework in _frameworks(service):
        spec = mapping(framework, "confidential")
        if not spec.get("enabled"):
            continue
        if not framework.get("storageUri"):
            yield f"spec.predictor.{key}.confidential needs storageUri"
        resource = spec.get("resourceId")
        if resource and not _KBS.fullmatch(str(resource)):
            yield f"spec.predictor.{key}.confidential.resourceId must be kbs:///REPOSITORY/TYPE/TAG"


def one_implementation(service: InferenceService) -> Violations:
    """A component has either a model or containers."""
    predictor = mapping(service.document, "spec", "predictor")
    found = [key for key in FRAMEWORKS if key in predictor]
    own = [c for c in objects(predictor, "containers") if c.get("name") != "transformer-container"]
    if len(found) + bool(own) != 1:
        yield f"spec.predictor must have exactly one of {quoted(FRAMEWORKS)} and containers"
    spec = mapping(service.document, "spec")
    if "transformer" in spec and not objects(spec, "transformer", "containers"):
        yield "spec.transformer must have containers"


def replica_bounds(service: InferenceService) -> Violations:
    """Replicas and concurrency are not negative, and minReplicas does not exceed maxReplicas."""
    for component in service.components:
        for key in ("minReplicas", "maxReplicas", "containerConcurrency"):
            value = component.declared.get(key, 0)
            if isinstance(value, int) and value < 0:
                yield f"{component.name}.{key} must not be negative"
        low, high = component.declared.get("minReplicas", 1), component.declared.get("maxReplicas", 0)
        if isinstance(low, int) and isinstance(high, int) and 0 < high < low:
            yield f"{component.name}.minReplicas {low} exceeds maxReplicas {high} (0 is unlimited, none is 1)"


def logger(service: InferenceService) -> Violations:
    """A request logger has a valid mode and complete storage settings."""
    for component in service.components:
        if "logger" not in component.declared:
            continue
        settings = mapping(component.declared, "logger")
        if settings.get("mode", "all") not in ("all", "request", "response"):
            yield f"{component.name}.logger.mode must be all, request or response"
        if "storage" in settings:
            missing = [k for k in ("path", "parameters", "key") if not mapping(settings, "storage").get(k)]
            if missing:
                yield f"{component.name}.logger.storage lacks {quoted(missing)}"


def _frameworks(service: InferenceService) -> Iterator[tuple[str, Mapping[str, Any]]]:
    predictor = mapping(service.document, "spec", "predictor")
    for key in FRAMEWORKS:
        if key in predictor:
            yield key, mapping(predictor, key)


def _all_containers(service: InferenceService) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for component in service.components:
        for part in (component.spec, mapping(component.spec, "workerSpec")):
            for container in (*objects(part, "initContainers"), *objects(part, "containers")):
                yield f"{component.name}/{container.get('name')}", container
    for key, framework in _frameworks(service):
        yield f"predictor.{key}", framework


SERVICES: dict[str, ServiceRule] = {
    "name": name,
    "deployment-mode": deployment_mode,
    "autoscaler-class": autoscaler_class,
    "python-path": python_path,
    "multi-node": multi_node,
    "model-container-name": model_container_name,
    "storage-uris": storage_uris,
    "confidential": confidential,
    "one-implementation": one_implementation,
    "replica-bounds": replica_bounds,
    "logger": logger,
}
