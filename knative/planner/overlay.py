"""A plan as a kustomize overlay on top of another one, which brings the hardware, storage and values.

Only what was planned is patched: replicas, concurrency, target and slots. An overlay that asks for another slice than
the plan's is refused, since its numbers would not hold there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from knative.annotations import GROUP
from knative.planner.demand import Plan
from knative.planner.errors import PlanError

GPU_PREFIX = "nvidia.com/"
SLOTS = "YIWEN_SLOTS"
PATCH_FILE = "planned.yaml"
UTILIZATION = GROUP + "target-utilization-percentage"


def overlay_files(plan: Plan, built: str, below: str) -> dict[str, str]:
    """The files, by name, that apply a plan.

    Args:
        plan: one that is feasible.
        built: YAML of the overlay below, as ``kubectl kustomize`` writes it.
        below: its path, relative to where the result will lie.

    Raises:
        PlanError: the overlay below has no predictor, or one on another slice.
    """
    service = _inference_service(built)
    predictor = service["spec"]["predictor"]
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
    best, demand = plan.options[0], plan.demand
    comment = (
        f"# yiwen plan: {demand.qps:g} requests/s within {demand.p99_s * 1000:g} ms, {demand.hit_rate:.0%} hits; "
        f"{best.replicas} pods on {best.candidate.label}.\n"
    )
    return {
        "kustomization.yaml": comment + yaml.safe_dump(document, sort_keys=False),
        PATCH_FILE: yaml.safe_dump(_operations(plan, predictor), sort_keys=False),
    }


def _inference_service(built: str) -> Mapping[str, Any]:
    for document in yaml.safe_load_all(built):
        found = isinstance(document, dict) and document.get("kind") == "InferenceService"
        if found and "predictor" in (document.get("spec") or {}):
            service: Mapping[str, Any] = document
            return service
    raise PlanError("the overlay has no InferenceService with a predictor: give one that has, as --on")


def _operations(plan: Plan, predictor: Mapping[str, Any]) -> list[dict[str, Any]]:
    """JSON patch operations; ``add`` replaces what is there."""
    sizes, candidate = plan.sizes, plan.options[0].candidate
    if sizes is None:
        raise PlanError("there is no plan to write: nothing meets the objective")
    containers: Sequence[Mapping[str, Any]] = predictor.get("containers") or [{}]
    _check_slice(containers[0], candidate.part.resource)
    annotations = "/spec/predictor/annotations"
    operations = [
        _add("/spec/predictor/minReplicas", sizes.min_replicas),
        _add("/spec/predictor/maxReplicas", sizes.max_replicas),
        _add("/spec/predictor/containerConcurrency", sizes.container_concurrency),
        _add("/spec/predictor/scaleTarget", sizes.scale_target),
        *([] if predictor.get("annotations") else [_add(annotations, {})]),
        _add(f"{annotations}/{UTILIZATION.replace('/', '~1')}", "100"),
        _add("/spec/transformer/minReplicas", sizes.transformer_replicas),
    ]
    for index, variable in enumerate(containers[0].get("env") or []):
        if variable.get("name") == SLOTS:
            operations.append(_add(f"/spec/predictor/containers/0/env/{index}/value", str(candidate.slots)))
    return operations


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
