"""Shows a plan: the ranking, the calculation of the best option, sizes, and the uncertainty of the numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from knative.planner.formatting import counted, gibibytes, milliseconds
from knative.planner.hardware.derive import MEMORY_FRACTION
from knative.planner.hardware.gpus import GIB
from knative.planner.options import band_of
from knative.planner.request import CapacityPlan, CapacityRequest, PlanOption, Sizing
from knative.simulator.cluster.pods import TransformerModel

GB = 1e9


def ranking(options: tuple[PlanOption, ...]) -> Table:
    """All options, the best first."""
    table = Table()
    for name in (
        "option",
        "profile",
        "slots",
        "pods",
        "band",
        "GPUs",
        "per hour",
        "P99 simulated",
        "why not",
    ):
        table.add_column(name, justify="left" if name in ("option", "profile", "why not") else "right")
    for option in options:
        table.add_row(*_row(option))
    return table


def details(plan: CapacityPlan) -> Iterator[str]:
    """Lines about the best option, or about the binding constraint if none is feasible."""
    if plan.sizes is None:
        yield from _impossible(plan)
        return
    best = plan.options[0]
    yield from _memory(best)
    yield from _load(best, plan.request)
    yield from _host(best)
    yield from _sizes(plan.sizes, best)
    yield from _certainty(best)


def to_json(plan: CapacityPlan) -> dict[str, Any]:
    """The plan as a JSON document; profiles by name, that of the best option whole."""
    best = plan.options[0].candidate.profile
    return {
        "request": dataclasses.asdict(plan.request),
        "options": [_option_json(option) for option in plan.options],
        "best_profile": best.to_json() if plan.sizes and best else None,
        "sizes": dataclasses.asdict(plan.sizes) if plan.sizes else None,
        "binding": plan.binding,
        "nearest": dataclasses.asdict(plan.nearest) if plan.nearest else None,
        "nearest_options": [_option_json(option) for option in plan.nearest_options if option.feasible],
    }


def _row(option: PlanOption) -> tuple[str, ...]:
    candidate = option.candidate
    kind = candidate.kind
    if not option.feasible:
        return candidate.label, kind, str(candidate.slots), "-", "-", "-", "-", "-", option.reason
    band = option.replicas_band
    return (
        candidate.label,
        kind,
        str(candidate.slots),
        str(option.replicas),
        f"{band[0]} to {band[1]}" if band else "-",
        str(option.gpus),
        f"{option.cost:.2f}",
        "-" if option.p99_s is None else milliseconds(option.p99_s),
        option.reason or "best",
    )


def _memory(best: PlanOption) -> Iterator[str]:
    candidate = best.candidate
    profile = candidate.profile
    if profile is None:
        return
    slot = candidate.kv_bytes_per_token * profile.max_sequence_tokens
    yield (
        f"Memory of a pod ({candidate.gpu_slice.resource}): {MEMORY_FRACTION:.0%} of "
        f"{gibibytes(candidate.slice_bytes)} - {gibibytes(candidate.weight_bytes)} weights - "
        f"{gibibytes(profile.memory.other_bytes)} workspace; "
        f"{candidate.kv_bytes_per_token / 1024:,.0f} KiB of K/V per token, {slot / GIB:.2f} GiB per slot: "
        f"{candidate.slots} slots used."
    )
    if candidate.gpu_slice.idle_compute:
        yield (
            f"{candidate.gpu_slice.max_per_gpu} x {candidate.gpu_slice.name} leave "
            f"{candidate.gpu_slice.idle_compute} of {candidate.gpu_slice.compute_slices} compute slices of each GPU "
            "idle."
        )


def _load(best: PlanOption, request: CapacityRequest) -> Iterator[str]:
    if best.capacity is None:
        return
    mean = request.workload.traffic.mean_texts
    texts = "" if mean == 1 else f" of {mean:g} texts"
    yield (
        f"Load: {request.workload.qps:g} requests/s{texts}, {request.workload.misses_per_s:,.0f} of them misses; a "
        f"pod does {best.capacity.rate:,.0f} within the objective, planned with {request.target_utilization:.0%} "
        "of that."
    )


def _host(best: PlanOption) -> Iterator[str]:
    """What a pod asks of its node, and what stays idle where that is scarce."""
    candidate = best.candidate
    most, usable = candidate.gpu_slice.max_per_gpu, candidate.pods_per_gpu
    asked = f"Host: a pod asks for {candidate.host}"
    if usable == most:
        yield f"{asked}, {counted(most, 'pod')} for each GPU. Whether nodes have as much is checked with --node."
    else:
        yield (
            f"{asked}; the nodes of --node have room for {usable:.3g} for each GPU, which could hold {most}: the "
            "rest of the GPUs is paid for and idle. Take nodes with more, or check what a pod needs (--pod-cpu, "
            "--pod-memory)."
        )


def _sizes(sizes: Sizing, best: PlanOption) -> Iterator[str]:
    yield (
        f"Predictor: minReplicas {sizes.min_replicas}, maxReplicas {sizes.max_replicas}, containerConcurrency "
        f"{sizes.container_concurrency}, scaleTarget {sizes.scale_target} with target-utilization-percentage 100, "
        f"YIWEN_SLOTS {best.candidate.slots}."
    )
    yield (
        "Groups: YIWEN_PREDICTOR_GROUP_SIZE 1, a text a request to the predictor, and "
        f"YIWEN_PREDICTOR_GROUPS_IN_FLIGHT {best.candidate.slots + 1}."
    )
    if best.replicas == 1:
        yield "One pod carries all: while it restarts, nobody is served. Take two where that matters."
    yield (
        f"Transformer: minReplicas {sizes.transformer_replicas}, maxReplicas {sizes.transformer_max_replicas}, one "
        "core each."
    )
    yield f"PVC: {sizes.volume_bytes / GB:,.0f} GB for two releases with a plan each."
    yield (
        f"Redis: {sizes.cache_entry_bytes} bytes per translation; misses add at most "
        f"{sizes.cache_bytes_per_hour / GB:.1f} GB per hour. Give it the hours of misses that make your hit rate, "
        "with maxmemory-policy allkeys-lru."
    )


def _certainty(best: PlanOption) -> Iterator[str]:
    profile = best.candidate.profile
    if profile is None:
        return
    low, high = band_of(profile)
    if best.candidate.kind == "estimated":
        yield (
            f"An estimate: Yiwen never ran on {best.candidate.gpu.name}. Its times are those of another GPU, "
            f"converted by published figures ({best.candidate.gpu.source}). Measure one with yiwen profile before "
            "you buy more."
        )
    yield f"How sure: profile {profile.name} is {profile.kind}" + (
        f" ({profile.derivation})." if profile.derivation else "."
    )
    for field, source in profile.provenance.items():
        yield f"  {field}: {source}"
    yield f"  seconds of steps and prompts may be off by {low:g} to {high:g} times: column `band` has pods for both."
    yield (
        "  assumed: lengths of texts, hit rate, prices per GPU-hour, even load balancing, one transformer core for "
        f"{1 / TransformerModel().miss_seconds:,.0f} misses/s."
    )


def _impossible(plan: CapacityPlan) -> Iterator[str]:
    request, nearest = plan.request, plan.nearest
    yield f"No option meets {milliseconds(request.slo.p99_s)} at {request.workload.qps:g} requests/s."
    yield f"What binds: {plan.binding}."
    if nearest is None:
        yield "Nothing near it can be met either."
        return
    best = plan.nearest_options[0]
    fewer = nearest.workload.qps < request.workload.qps and request.max_gpus is not None
    most = f", the most that {counted(request.max_gpus or 0, 'GPU')} can do," if fewer else ""
    yield (
        f"Nearest that can be met: {nearest.workload.qps:g} requests/s{most} within "
        f"{milliseconds(nearest.slo.p99_s)}, with {counted(best.replicas, 'pod')} on {counted(best.gpus, 'GPU')} "
        f"({best.candidate.label}) at {best.cost:.2f} per hour."
    )


def _option_json(option: PlanOption) -> dict[str, Any]:
    candidate = option.candidate
    return {
        "gpu": candidate.gpu.key,
        "slice": candidate.gpu_slice.name,
        "precision": candidate.precision,
        "slots": candidate.slots,
        "weight_bytes": candidate.weight_bytes,
        "kv_bytes_per_token": candidate.kv_bytes_per_token,
        "slice_bytes": candidate.slice_bytes,
        "profile": candidate.profile.name if candidate.profile else None,
        "kind": candidate.profile.kind if candidate.profile else None,
        "estimated": candidate.kind == "estimated",
        "gpu_source": candidate.gpu.source,
        "host": dataclasses.asdict(candidate.host),
        "pods_per_gpu": candidate.pods_per_gpu,
        "capacity": dataclasses.asdict(option.capacity) if option.capacity else None,
        "replicas": option.replicas,
        "replicas_band": option.replicas_band,
        "gpus": option.gpus,
        "cost_per_hour": option.cost,
        "p99_s": option.p99_s,
        "judged": option.judged,
        "reason": option.reason,
    }
