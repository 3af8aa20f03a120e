"""Rules for containers that follow from what KServe's controller changes in them.

From ``predictor_custom.go``, ``transformer_custom.go`` and ``predictor_model.go`` of kserve/kserve aaac4e29.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inferenceservices.resources import GPU_RESOURCES, MIG_PREFIX, is_extended
from inferenceservices.rules.findings import ComponentRule, PodRule, ServiceRule, Violations, quoted
from protocol.kubernetes.documents import objects
from protocol.kubernetes.inference_service import (
    SERVING_CONTAINER,
    TRANSFORMER_CONTAINER,
    InferenceService,
    ServiceComponent,
)
from protocol.kubernetes.pods import PodTemplate, arguments, environment, limits, requests
from protocol.kubernetes.quantities import parse_quantity

GPU_TYPES = "serving.kserve.io/gpu-resource-types"
GKE_ACCELERATOR = "serving.kserve.io/gke-accelerator"
SERVICE_NAME_PLACEHOLDER = "{{.Name}}"
"""Placeholder in a ServingRuntime that the controller replaces by the InferenceService's name."""


def container_name(component: ServiceComponent) -> Violations:
    """The serving container comes first and is named ``kserve-container``; a single container may have no name."""
    names = [str(container.get("name", "")) for container in component.pod.containers]
    if len(names) > 1 and names[0] != SERVING_CONTAINER:
        yield (
            f"the first of several containers must be named {SERVING_CONTAINER}: KServe's controller writes its own "
            "over the first one, or crashes; name it so and put it first"
        )


def protocol_variable(component: ServiceComponent) -> Violations:
    """The variable PROTOCOL of the first container is v1 or v2; KServe refuses grpc-v2."""
    for container in component.pod.containers[:1]:
        protocol = environment(container).get("PROTOCOL")
        if protocol not in (None, "v1", "v2"):
            yield "the variable PROTOCOL must be v1 or v2, or be left away"


def workers(component: ServiceComponent) -> Violations:
    """``--workers=1`` is explicit: otherwise KServe derives it from containerConcurrency."""
    for container in _serving_containers(component):
        if arguments(container).get("--workers") != "1":
            yield (
                f"{container.get('name')} must have the argument --workers=1: KServe appends one per "
                "containerConcurrency to a transformer, and our services run in one process"
            )


def model_name(component: ServiceComponent) -> Violations:
    """Both components have ``--model_name``: KServe passes it to transformers only."""
    for container in _serving_containers(component):
        if arguments(container).get("--model_name") not in (component.service.name, SERVICE_NAME_PLACEHOLDER):
            yield (
                f"{container.get('name')} must have the argument --model_name={component.service.name}: "
                "transformer and predictor call the model by the InferenceService's name"
            )


def requests_and_limits(component: ServiceComponent) -> Violations:
    """CPU and memory are in requests and in limits: KServe sets missing ones to 1 CPU and 2Gi."""
    for container in component.pod.containers[:1]:
        for side, values in (("requests", requests(container)), ("limits", limits(container))):
            missing = [resource for resource in ("cpu", "memory") if resource not in values]
            if missing:
                yield (
                    f"{container.get('name')} must state {quoted(missing)} in resources.{side}: KServe puts its "
                    "defaults of 1 CPU and 2Gi there, which may then contradict the other side"
                )


def requests_within_limits(pod: PodTemplate) -> Violations:
    """No request exceeds its limit, and all are valid quantities."""
    for container in pod.all_containers:
        for resource, amount in requests(container).items():
            bound = limits(container).get(resource, amount)
            try:
                if parse_quantity(amount) > parse_quantity(bound):
                    yield (
                        f"{container.get('name')} requests {amount} of {resource} and is limited to {bound}: "
                        "raise the limit or lower the request"
                    )
            except ValueError as error:
                yield f"{container.get('name')}, {resource}: {error}"


def device_resources(pod: PodTemplate) -> Violations:
    """Extended resources (GPUs, MIG slices) are whole numbers, equal in requests and limits."""
    for container in pod.all_containers:
        names = {name for name in {*requests(container), *limits(container)} if is_extended(name)}
        for name in sorted(names):
            asked, bound = requests(container).get(name), limits(container).get(name)
            if asked is None or bound is None or str(asked) != str(bound) or not str(asked).isdigit():
                yield (
                    f"{container.get('name')} must have the same whole number of {name} in resources.requests and "
                    "resources.limits: a device is not shared or split"
                )


def grpc_port(component: ServiceComponent) -> Violations:
    """A gRPC port is named h2c, or else proxies use HTTP/1."""
    for container in component.pod.containers:
        for port in objects(container, "ports"):
            name = str(port.get("name", ""))
            if port.get("containerPort") == 8081 and name != "h2c" and not name.startswith("grpc"):
                yield f"{container.get('name')} must name its gRPC port 8081 h2c: that is how HTTP/2 is asked for"


def worker_gpu_types(service: InferenceService) -> Violations:
    """A MIG slice in workerSpec is listed in the annotation ``gpu-resource-types``."""
    try:
        listed = json.loads(service.annotations.get(GPU_TYPES, "[]"))
    except ValueError:
        yield f"the annotation {GPU_TYPES} must be a list in JSON"
        return
    for container in objects(service.document, "spec", "predictor", "workerSpec", "containers"):
        names = {name for name in {*requests(container), *limits(container)} if is_extended(name)}
        unknown = names - {*GPU_RESOURCES, *(str(name) for name in listed)}
        if unknown:
            yield f"list {quoted(unknown)} in the annotation {GPU_TYPES}: KServe knows no such GPU in a workerSpec"


def gke_accelerator(service: InferenceService) -> Violations:
    """The annotation ``gke-accelerator`` is not used with MIG slices: it acts on nvidia.com/gpu alone."""
    if GKE_ACCELERATOR not in service.annotations:
        return
    for component in service.components:
        for container in component.pod.containers:
            if any(name.startswith(MIG_PREFIX) for name in limits(container)):
                yield (
                    f"the annotation {GKE_ACCELERATOR} does nothing for a MIG slice: "
                    "name the GPU in the component's nodeAffinity"
                )


def collocated_ports(component: ServiceComponent) -> Violations:
    """If the transformer runs in the predictor's pod, only its container has ports."""
    if _collocated(component) is None:
        return
    for container in component.pod.containers:
        if container.get("name") != TRANSFORMER_CONTAINER and objects(container, "ports"):
            yield f"{container.get('name')} must have no ports: {TRANSFORMER_CONTAINER} is what callers reach"


def collocated_arguments(component: ServiceComponent) -> Violations:
    """Two servers in one pod listen on different ports, and the transformer calls the predictor on localhost."""
    transformer = _collocated(component)
    if transformer is None:
        return
    taken: dict[str, str] = {}
    for container in component.pod.containers:
        given = arguments(container)
        ports = {given.get("--http_port", "8080"), given.get("--grpc_port", "8081")} - {"0"}
        for port in sorted(ports):
            if port in taken:
                yield (
                    f"{container.get('name')} and {taken[port]} both listen on {port}: give one of them another "
                    "--http_port and --grpc_port"
                )
            taken[port] = str(container.get("name"))
    host, _, port = arguments(transformer).get("--predictor_host", "").partition(":")
    first = next((c for c in component.pod.containers if c is not transformer), {})
    if host != "localhost" or port != arguments(first).get("--http_port", "8080"):
        yield (
            f"{TRANSFORMER_CONTAINER} must have --predictor_host=localhost:PORT with the port of {SERVING_CONTAINER}"
        )


def collocated_storage(service: InferenceService) -> Violations:
    """transformer-container does not set STORAGE_URI: KServe mounts the model there and refuses the variable."""
    for component in service.components:
        for container in component.pod.containers:
            names = {str(entry.get("name")) for entry in objects(container, "env")}
            if container.get("name") == TRANSFORMER_CONTAINER and "STORAGE_URI" in names:
                yield f"{TRANSFORMER_CONTAINER} must not set STORAGE_URI: KServe mounts the predictor's model there"


def _serving_containers(component: ServiceComponent) -> tuple[Mapping[str, Any], ...]:
    """The containers that run a predictor or transformer: the first one, and a transformer beside it."""
    containers = component.pod.containers
    beside = tuple(c for c in containers[1:] if c.get("name") == TRANSFORMER_CONTAINER)
    return (*containers[:1], *beside)


def _collocated(component: ServiceComponent) -> Mapping[str, Any] | None:
    containers = component.pod.containers
    return next((c for c in containers if c.get("name") == TRANSFORMER_CONTAINER), None)


SERVICES: dict[str, ServiceRule] = {
    "worker-gpu-types": worker_gpu_types,
    "gke-accelerator": gke_accelerator,
    "collocated-storage": collocated_storage,
}
COMPONENTS: dict[str, ComponentRule] = {
    "container-name": container_name,
    "protocol-variable": protocol_variable,
    "workers": workers,
    "model-name": model_name,
    "requests-and-limits": requests_and_limits,
    "grpc-port": grpc_port,
    "collocated-ports": collocated_ports,
    "collocated-arguments": collocated_arguments,
}
PODS: dict[str, PodRule] = {
    "requests-within-limits": requests_within_limits,
    "device-resources": device_resources,
}
