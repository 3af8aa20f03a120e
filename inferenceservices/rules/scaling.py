"""Rules of KServe's validating webhook and of Knative for scaling and canaries.

From ``inference_service_validation.go`` of kserve/kserve aaac4e29 and ``traffic`` of Knative's Service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferenceservices.rules.findings import ComponentRule, ServiceRule, Violations
from inferenceservices.rules.webhook import AUTOSCALER_CLASS
from protocol.kubernetes.documents import mapping, objects
from protocol.kubernetes.inference_service import STANDARD, InferenceService, ServiceComponent
from protocol.kubernetes.pods import environment
from protocol.kubernetes.quantities import quantity_or_zero

CLASS = "autoscaling.knative.dev/class"
HPA_CLASS = "hpa.autoscaling.knative.dev"
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
SLOTS = "YIWEN_SLOTS"
GROUP_SIZE, GROUPS_IN_FLIGHT = "YIWEN_PREDICTOR_GROUP_SIZE", "YIWEN_PREDICTOR_GROUPS_IN_FLIGHT"
_METRIC_OF_TYPE = {"Resource": "resource", "External": "external", "PodMetric": "podmetric"}


def scaling(component: ServiceComponent) -> Violations:
    """Metrics and targets are valid for the chosen autoscaler."""
    if component.service.mode == STANDARD:
        rule = {"hpa": _hpa, "keda": _keda}.get(component.service.annotations.get(AUTOSCALER_CLASS, ""))
        if rule is not None:
            yield from rule(component.declared)
    elif component.service.annotations.get(CLASS) == HPA_CLASS:
        yield from _hpa(component.declared)
    else:
        yield from _kpa(component.declared)


def _kpa(spec: Mapping[str, Any]) -> Violations:
    metric = spec.get("scaleMetric", "concurrency")
    if "deploymentStrategy" in spec:
        yield "deploymentStrategy is for Standard mode: Knative replaces revisions as a whole"
    if metric not in ("concurrency", "rps"):
        yield "scaleMetric must be concurrency or rps: Knative's KPA knows no other"
    if metric == "rps" and _below(spec.get("scaleTarget"), 1):
        yield "scaleTarget must be 1 or more requests per second"


def _hpa(spec: Mapping[str, Any]) -> Violations:
    metric, target = spec.get("scaleMetric", "cpu"), spec.get("scaleTarget")
    if metric not in ("cpu", "memory"):
        yield "scaleMetric must be cpu or memory: the HPA knows no other"
    if isinstance(target, int) and target > 100:
        yield "scaleTarget must be at most 100, whatever the metric: KServe checks it as a percentage"
    if _below(target, 1):
        yield "scaleTarget must be 1 or more"
    for entry in objects(spec, "autoScaling", "metrics"):
        if entry.get("type") != "Resource" or "resource" not in entry:
            yield "autoScaling.metrics of an HPA must be of the type Resource"


def _keda(spec: Mapping[str, Any]) -> Violations:
    if "scaleMetric" in spec:
        yield "remove scaleMetric: KEDA takes its metrics from autoScaling.metrics"
    for number, entry in enumerate(objects(spec, "autoScaling", "metrics")):
        kind = str(entry.get("type"))
        key = _METRIC_OF_TYPE.get(kind)
        if key is None or key not in entry:
            yield f"autoScaling.metrics[{number}] must be of the type Resource, External or PodMetric, and have it"
        elif key == "resource":
            yield from _keda_resource(number, mapping(entry, key))
        else:
            source = mapping(entry, key)
            if not mapping(source, "metric").get("query") or "value" not in mapping(source, "target"):
                yield f"autoScaling.metrics[{number}] must have metric.query and target.value"


def _keda_resource(number: int, source: Mapping[str, Any]) -> Violations:
    target = mapping(source, "target")
    resource, kind = source.get("name"), target.get("type")
    if resource == "cpu":
        if kind != "Utilization":
            yield f"autoScaling.metrics[{number}]: the target of cpu must be of the type Utilization"
    elif resource == "memory":
        if kind not in ("AverageValue", "Utilization"):
            yield f"autoScaling.metrics[{number}]: the target of memory must be AverageValue or Utilization"
        if kind == "AverageValue" and quantity_or_zero(target.get("averageValue")) < 2**20:
            yield f"autoScaling.metrics[{number}]: the target of memory must be 1Mi or more"
    else:
        yield f"autoScaling.metrics[{number}]: the resource must be cpu or memory"


def work_units(service: InferenceService) -> Violations:
    """The transformer's groups fit the predictor's slots, and the KPA's target counts groups.

    A group is what one request to the predictor carries. A caller's request has as many in flight as fill the slots
    of one predictor, and one more; the target lies between the groups and the sequences that fill its slots.
    """
    parts = {component.name: component for component in service.components}
    if not {"predictor", "transformer"} <= set(parts):
        return
    slots = _setting(parts["predictor"], SLOTS, 16)
    size = _setting(parts["transformer"], GROUP_SIZE, 8)
    in_flight = _setting(parts["transformer"], GROUPS_IN_FLIGHT, 3)
    if slots is None or size is None or in_flight is None:
        yield f"{SLOTS}, {GROUP_SIZE} and {GROUPS_IN_FLIGHT} must be whole numbers from 1"
        return
    full = -(-slots // size)
    if size > slots:
        yield f"{GROUP_SIZE} {size} is more than the {slots} slots of {SLOTS}: one group fills a predictor"
    if not full <= in_flight <= full + 1:
        effect = "slots stay empty" if in_flight < full else "short requests wait longer"
        yield (
            f"{GROUPS_IN_FLIGHT} must be {full} or {full + 1}: groups of {size} that fill {slots} slots, and one "
            f"that waits; with {in_flight}, {effect}"
        )
    if service.mode != STANDARD:
        yield from _counted_groups(parts["predictor"].declared, slots, full)


def _counted_groups(predictor: Mapping[str, Any], slots: int, full: int) -> Violations:
    """Knative's limits for the requests of a predictor with ``slots`` that ``full`` groups fill."""
    target, limit = predictor.get("scaleTarget"), predictor.get("containerConcurrency")
    if predictor.get("scaleMetric", "concurrency") != "concurrency":
        return
    if isinstance(target, int) and not full <= target <= slots:
        wanted = str(slots) if full == slots else f"from {full} to {slots}"
        yield f"scaleTarget of the predictor must be {wanted}: the requests to it that fill its slots"
    if isinstance(limit, int) and 0 < limit < slots:
        yield f"containerConcurrency of the predictor must be 0 or {slots} or more: requests of one text fill no more"


def _setting(component: ServiceComponent, name: str, default: int) -> int | None:
    """A setting of the server's container as a number from 1; None if it is none."""
    for container in component.pod.containers[:1]:
        value = environment(container).get(name, str(default))
        return int(value) if value.isdecimal() and int(value) else None
    return default


def canary_percent(component: ServiceComponent) -> Violations:
    """A canary's percentage is valid: KServe does not check it, and Knative refuses the Service."""
    percent = component.declared.get("canaryTrafficPercent")
    if isinstance(percent, int) and not 0 <= percent <= 100:
        yield "canaryTrafficPercent must be from 0 to 100"


def canary_together(service: InferenceService) -> Violations:
    """A canary has the same percentage on both components, and tagged URLs: their traffic is split independently."""
    shares = {c.name: c.declared.get("canaryTrafficPercent") for c in service.components}
    if any(share != next(iter(shares.values())) for share in shares.values()):
        yield "set the same canaryTrafficPercent on predictor and transformer: both belong to one release"
    if any(share is not None for share in shares.values()):
        if service.mode == STANDARD:
            yield "canaryTrafficPercent is ignored in Standard mode: use Knative mode for canaries"
        elif service.annotations.get(TAG_ROUTING) != "true":
            yield f'set the annotation {TAG_ROUTING} to "true": transformers find their release by it'


def standard_canary(service: InferenceService) -> Violations:
    """``spec.canary`` (Standard mode) is valid and is not used with a transformer, which it bypasses."""
    canaries = objects(service.document, "spec", "canary")
    if not canaries:
        return
    stable = mapping(service.document, "spec", "predictor")
    if service.mode != STANDARD:
        yield "spec.canary is for Standard mode: use canaryTrafficPercent"
    if "transformer" in mapping(service.document, "spec"):
        yield "spec.canary sends its share past the transformer: use Knative mode for canaries"
    if "model" not in stable:
        yield "spec.canary needs a stable predictor with a model"
    names = [str(mapping(canary, "predictor").get("name", "")) for canary in canaries]
    if "" in names or len(set(names)) < len(names) or stable.get("name") in names:
        yield "every predictor of spec.canary needs a name that no other has"
    shares = [canary.get("trafficPercent", 0) for canary in canaries]
    if any(not isinstance(s, int) or not 0 <= s <= 100 for s in shares) or sum(shares) > 100:
        yield "trafficPercent of spec.canary must be from 0 to 100, and 100 at most together"
    for canary in canaries:
        yield from _fixed_canary(mapping(canary, "predictor"), stable)


def _fixed_canary(predictor: Mapping[str, Any], stable: Mapping[str, Any]) -> Violations:
    for key in ("workerSpec", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
        if predictor.get(key):
            yield f"remove {key} from spec.canary: a canary has a fixed number of replicas on one node"
    wanted, most = predictor.get("minReplicas", 0), stable.get("minReplicas", 1)
    if isinstance(wanted, int) and isinstance(most, int) and wanted > most:
        yield f"minReplicas of spec.canary must be at most the stable predictor's {most}"


def _below(value: object, bound: int) -> bool:
    return isinstance(value, int) and value < bound


SERVICES: dict[str, ServiceRule] = {
    "canary-together": canary_together,
    "standard-canary": standard_canary,
    "work-units": work_units,
}
COMPONENTS: dict[str, ComponentRule] = {"scaling": scaling, "canary-percent": canary_percent}
