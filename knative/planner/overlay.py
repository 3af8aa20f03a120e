"""Writes a plan as a kustomize overlay on top of another one, which has hardware, storage and values.

It patches replicas, concurrency, target, slots, and groups of one text. A base overlay for another slice or GPU than
the plan's is refused, and so is one with a smaller quota.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from knative.autoscaler.annotations import GROUP
from knative.planner.errors import PlanError
from knative.planner.formatting import counted
from knative.planner.hardware.gpus import GpuModel, GpuSlice
from knative.planner.request import CapacityPlan, Sizing

GPU_PREFIX = "nvidia.com/"
PRODUCT = "nvidia.com/gpu.product"
"""Label of nodes."""
SLOTS = "YIWEN_SLOTS"
GROUP_SIZE, GROUPS_IN_FLIGHT = "YIWEN_PREDICTOR_GROUP_SIZE", "YIWEN_PREDICTOR_GROUPS_IN_FLIGHT"
PATCH_FILE = "planned.yaml"
UTILIZATION = GROUP + "target-utilization-percentage"


def overlay_files(plan: CapacityPlan, built: str, below: str) -> dict[str, str]:
    """The files, by name, that apply a plan.

    Args:
        plan: one that is feasible.
        built: YAML of the overlay below, as ``kubectl kustomize`` writes it.
        below: its path, relative to where the result will lie.

    Raises:
        PlanError: the overlay below lacks a predictor or a transformer, has one on another slice or GPU, or its
            quota is too small.
    """
    if plan.sizes is None:
        raise PlanError("there is no plan to write: nothing meets the objective")
    documents = [document for document in yaml.safe_load_all(built) if isinstance(document, dict)]
    service = _inference_service(documents)
    spec, candidate = service["spec"], plan.options[0].candidate
    _check_slice(_container(spec["predictor"]), candidate.gpu_slice.resource)
    _check_gpu(spec["predictor"], candidate.gpu)
    _check_quotas(documents, candidate.gpu_slice, plan.sizes.max_replicas)
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [below],
        "patches": [
            {
                "target": {"kind": "InferenceService", "name": service["metadata"]["name"]},
                "path": PATCH_FILE,
            }
        ],
    }
    best, request = plan.options[0], plan.request
    comment = (
        f"# yiwen plan: {request.workload.qps:g} requests/s within {request.slo.p99_s * 1000:g} ms, "
        f"{request.workload.hit_rate:.0%} hits; "
        f"{counted(best.replicas, 'pod')} on {best.candidate.label}.\n"
    )
    operations = [*_predictor(spec["predictor"], plan.sizes), *_transformer(spec["transformer"], plan.sizes)]
    return {
        "kustomization.yaml": comment + yaml.safe_dump(document, sort_keys=False),
        PATCH_FILE: yaml.safe_dump(operations, sort_keys=False),
    }


def _inference_service(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    for document in documents:
        spec = document.get("spec") or {}
        if document.get("kind") == "InferenceService" and {"predictor", "transformer"} <= set(spec):
            return document
    raise PlanError(
        "the overlay has no InferenceService with a predictor and a transformer: give one that has, as --on"
    )


def _container(component: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container of the server."""
    containers: Sequence[Mapping[str, Any]] = component.get("containers") or [{}]
    return containers[0]


def _predictor(predictor: Mapping[str, Any], sizes: Sizing) -> list[dict[str, Any]]:
    """JSON patch operations; ``add`` replaces what a mapping has."""
    annotations = "/spec/predictor/annotations"
    return [
        _add("/spec/predictor/minReplicas", sizes.min_replicas),
        _add("/spec/predictor/maxReplicas", sizes.max_replicas),
        _add("/spec/predictor/containerConcurrency", sizes.container_concurrency),
        _add("/spec/predictor/scaleTarget", sizes.scale_target),
        *([] if predictor.get("annotations") else [_add(annotations, {})]),
        _add(f"{annotations}/{UTILIZATION.replace('/', '~1')}", "100"),
        *_settings("predictor", predictor, {SLOTS: sizes.container_concurrency}),
    ]


def _settings(
    component: str, declared: Mapping[str, Any], settings: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Operations that set environment variables, whether there are entries for them or not."""
    path = f"/spec/{component}/containers/0/env"
    names = [variable.get("name") for variable in _container(declared).get("env") or []]
    for name, value in settings.items():
        entry = {"name": name, "value": str(value)}
        if name in names:
            yield {"op": "replace", "path": f"{path}/{names.index(name)}", "value": entry}
        else:
            yield _add(f"{path}/-", entry) if names else _add(path, [entry])
            names.append(name)


def _transformer(transformer: Mapping[str, Any], sizes: Sizing) -> list[dict[str, Any]]:
    """Operations; a larger ``maxReplicas`` stays, and so does 0, which is no limit."""
    most = transformer.get("maxReplicas") or 0
    operations = [_add("/spec/transformer/minReplicas", sizes.transformer_replicas)]
    if 0 < most < sizes.transformer_max_replicas:
        operations.append(_add("/spec/transformer/maxReplicas", sizes.transformer_max_replicas))
    groups = {GROUP_SIZE: 1, GROUPS_IN_FLIGHT: sizes.container_concurrency + 1}
    return [*operations, *_settings("transformer", transformer, groups)]


def _add(path: str, value: object) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def _check_slice(container: Mapping[str, Any], wanted: str) -> None:
    limits = (container.get("resources") or {}).get("limits") or {}
    asked = sorted(str(name) for name in limits if str(name).startswith(GPU_PREFIX))
    if asked != [wanted]:
        raise PlanError(
            f"the overlay asks for {', '.join(asked) or 'no GPU'}, the plan is for {wanted}: give an overlay with "
            "the component of that slice as --on, or plan with --gpu and --slice for the overlay's"
        )


def _check_gpu(predictor: Mapping[str, Any], gpu: GpuModel) -> None:
    """Slices of several GPUs have one name; an overlay that does not say which GPU it wants is taken as it is."""
    others = [label for label in _products(predictor) if not gpu.is_product(label)]
    if others:
        raise PlanError(
            f"the overlay's pods may run on {', '.join(others)} ({PRODUCT}), the plan is for {gpu.name}: give an "
            "overlay whose node affinity names that GPU alone as --on, or plan with --gpu for the overlay's"
        )


def _products(predictor: Mapping[str, Any]) -> list[str]:
    """GPUs that the nodes may have, by their label; empty if it is not asked for."""
    affinity = (predictor.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    selected = (predictor.get("nodeSelector") or {}).get(PRODUCT)
    return [
        *([str(selected)] if selected else []),
        *(
            str(value)
            for term in terms or []
            for expression in term.get("matchExpressions") or []
            if (expression.get("key"), expression.get("operator")) == (PRODUCT, "In")
            for value in expression.get("values") or []
        ),
    ]


def _check_quotas(documents: Sequence[Mapping[str, Any]], gpu_slice: GpuSlice, pods: int) -> None:
    key = f"requests.{gpu_slice.resource}"
    for document in documents:
        hard = (document.get("spec") or {}).get("hard") or {}
        if document.get("kind") != "ResourceQuota" or key not in hard:
            continue
        name, allowed = document["metadata"]["name"], str(hard[key])
        if not allowed.isdecimal():
            raise PlanError(f"ResourceQuota {name}: {key} is {allowed!r}; write a whole number")
        if int(allowed) < pods:
            gpus = int(allowed) // gpu_slice.max_per_gpu
            fewer = f", or plan with --max-gpus {gpus}" if gpus else ""
            raise PlanError(
                f"ResourceQuota {name} allows {allowed} of {gpu_slice.resource}, the plan's maxReplicas are {pods}: "
                f"raise {key} to {pods} or more{fewer}"
            )
