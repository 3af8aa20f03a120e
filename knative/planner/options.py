"""Judges candidates and ranks them by cost, with no more simulations than the cheapest few need.

An option goes through three states. At first only a bound is known, the least that it can cost if all its slots are
always busy. Judged, it has the capacity of a pod and with it a number of pods. Verified, all those pods were
simulated together. What is dearer by its bound alone than the third cheapest is never judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from knative.planner.capacity import (
    alone_seconds,
    max_search_rate,
    overhead_seconds,
    pod_capacity,
    service_p99,
    whole_service,
)
from knative.planner.formatting import counted, gibibytes, milliseconds
from knative.planner.hardware.derive import BAND, MEMORY_FRACTION
from knative.planner.request import PlanCandidate, PlanOption, PlanRequest, PodCapacity
from knative.profiling.profile import PredictorProfile, StepTable
from knative.simulator.cluster.pods import TransformerModel

MEASURED_BAND = (0.9, 1.1)
"""Seconds of a measured profile may be off by these factors: the shipped ones give the load over HTTP within 3 %, and
two machines of one kind differ too."""
VERIFIED = 3
"""Options whose whole service is simulated, the cheapest first."""
MORE_PODS = (0.0, 0.1, 0.2, 0.3)
"""Of an option's pods, to add one after the other (at least one pod) while the whole service misses the objective."""
TRANSFORMER_LOAD = 0.6
"""Of a transformer's core, and of its connections, to plan with."""

Reporter = Callable[[str], None]
"""Told what is being simulated, before it is."""


def silent(_: str) -> None:
    """Reports nothing."""


def find_options(
    candidates: Sequence[PlanCandidate], request: PlanRequest, report: Reporter = silent
) -> tuple[PlanOption, ...]:
    """All candidates, the best first; the feasible ones among the first three are verified and have their band.

    Args:
        candidates: to choose from.
        request: workload, SLO and limits.
        report: is told of every simulation.
    """
    options = [_bounded(candidate, request) for candidate in candidates]
    while (index := _next(options)) is not None:
        label = options[index].candidate.label
        if options[index].judged:
            report(f"{label}: all {counted(options[index].replicas, 'pod')}")
            options[index] = _verified(options[index], request)
        else:
            report(f"{label}: what a pod can do")
            options[index] = judge(options[index].candidate, request)
    ranked = _rank(options)
    return (*(_with_band(option, request) for option in ranked[:VERIFIED]), *ranked[VERIFIED:])


def _next(options: Sequence[PlanOption]) -> int | None:
    """Index of the option to look at next; None if the first ones are known."""
    feasible = [index for index, option in enumerate(options) if option.feasible]
    first = sorted(feasible, key=lambda index: _order(options[index]))[:VERIFIED]
    limit = options[first[-1]].cost if len(first) == VERIFIED else math.inf
    unknown = [i for i, option in enumerate(options) if not option.judged and option.cost <= limit]
    if unknown:
        return min(unknown, key=lambda index: options[index].cost)
    return next((index for index in first if options[index].p99_s is None), None)


def _bounded(candidate: PlanCandidate, request: PlanRequest) -> PlanOption:
    """What is known without a simulation: why it cannot, or the least that it costs."""
    profile = candidate.profile
    if profile is None:
        return PlanOption(candidate, _does_not_fit(candidate, request))
    alone = alone_seconds(profile, request.workload.traffic) + overhead_seconds(profile)
    if alone > request.slo.p99_s:
        return PlanOption(
            candidate,
            f"too slow: a long text alone takes {milliseconds(alone)}, the objective is "
            f"{milliseconds(request.slo.p99_s)}",
            PodCapacity(0.0, 0.0, 0.0, alone),
        )
    pods = _pods(max_search_rate(profile, request.workload.traffic), request)
    gpus = math.ceil(pods / candidate.gpu_slice.max_per_gpu)
    return PlanOption(candidate, "", gpus=gpus, cost=gpus * candidate.gpu.price, judged=False)


def judge(candidate: PlanCandidate, request: PlanRequest) -> PlanOption:
    """An option with the capacity of its pods, and how many the load takes."""
    known = _bounded(candidate, request)
    if known.judged or candidate.profile is None:
        return known
    capacity = pod_capacity(candidate.profile, request)
    if not capacity.rate:
        return PlanOption(candidate, "too slow: at no load do 99 of 100 keep the objective", capacity)
    return _sized(PlanOption(candidate, "", capacity), _pods(capacity.rate, request), request)


def _sized(option: PlanOption, pods: int, request: PlanRequest) -> PlanOption:
    """The same with so many pods, or with the reason why there cannot be as many."""
    gpus = math.ceil(pods / option.candidate.gpu_slice.max_per_gpu)
    over = request.max_gpus is not None and gpus > request.max_gpus
    return dataclasses.replace(
        option,
        replicas=0 if over else pods,
        gpus=gpus,
        cost=gpus * option.candidate.gpu.price,
        reason=f"needs {counted(gpus, 'GPU')}, --max-gpus is {request.max_gpus}" if over else option.reason,
    )


def _verified(option: PlanOption, request: PlanRequest) -> PlanOption:
    """With its whole service simulated, and more pods if it needs them; infeasible if a few more do not help."""
    profile, capacity = option.candidate.profile, option.capacity
    if profile is None or capacity is None:
        return option
    transformers = transformers_for(request, capacity)
    p99, pods = None, option.replicas
    for number, more in enumerate(MORE_PODS):
        pods = option.replicas + max(number, math.ceil(option.replicas * more))
        tried = _sized(option, pods, request)
        if not tried.feasible:
            return tried
        p99 = service_p99(whole_service(profile, request, replicas=pods, transformers=transformers))
        if p99 is not None and p99 <= request.slo.p99_s:
            return dataclasses.replace(tried, p99_s=p99)
    outcome = "more than 1 of 100 fail" if p99 is None else f"P99 is {milliseconds(p99)}"
    reason = f"too slow: with {counted(pods, 'pod')} together {outcome}"
    return dataclasses.replace(option, replicas=0, gpus=0, cost=0.0, p99_s=p99, reason=reason)


def _pods(rate: float, request: PlanRequest) -> int:
    """Pods for the load, of so many misses per second each."""
    return math.ceil(request.workload.misses_per_s / (rate * request.target_utilization))


def transformers_for(request: PlanRequest, capacity: PodCapacity) -> int:
    """Transformers with enough cores for all requests, and connections for all misses that are under way."""
    model = TransformerModel()
    work = (
        request.workload.misses_per_s * model.miss_seconds
        + request.workload.qps * request.workload.hit_rate * model.hit_seconds
    )
    under_way = request.workload.misses_per_s * capacity.mean_s / model.max_connections
    return max(2, math.ceil(max(work, under_way) / TRANSFORMER_LOAD))


def _does_not_fit(candidate: PlanCandidate, request: PlanRequest) -> str:
    slot = candidate.kv_bytes_per_token * request.max_sequence_tokens
    return (
        f"does not fit: weights {gibibytes(candidate.weight_bytes)}, one slot {gibibytes(slot)}, and workspace; "
        f"{MEMORY_FRACTION:.0%} of {gibibytes(candidate.slice_bytes)} are there"
    )


def _rank(options: Sequence[PlanOption]) -> tuple[PlanOption, ...]:
    """Feasible ones in their order, then those that were not judged by their bound, then the rest as they came.

    Says of each why it is behind.
    """
    feasible = sorted((option for option in options if option.feasible), key=_order)
    dearer = sorted((option for option in options if not option.judged), key=lambda option: option.cost)
    behind = [
        dataclasses.replace(option, reason=_behind(option, feasible[0]))
        for option in (*feasible[1:], *dearer)
    ]
    return (*feasible[:1], *behind, *(option for option in options if option.judged and not option.feasible))


def _order(option: PlanOption) -> tuple[float, int, bool, bool, float]:
    """By cost, pods, measured before derived, and whole GPUs before slices."""
    profile, capacity = option.candidate.profile, option.capacity
    derived = profile is None or profile.kind != "measured"
    mean_s = capacity.mean_s if capacity else math.inf
    return option.cost, option.replicas, derived, option.candidate.gpu_slice.name != "full", mean_s


def _behind(option: PlanOption, best: PlanOption) -> str:
    if option.cost > best.cost:
        at_least = "" if option.judged else "at least "
        return f"costs {at_least}{option.cost / best.cost - 1:.0%} more"
    if option.replicas > best.replicas:
        return f"the same cost with {option.replicas} pods instead of {best.replicas}"
    return "the same cost, and no better"


def band_of(profile: PredictorProfile) -> tuple[float, float]:
    """Factors by which a profile's seconds may be off."""
    return MEASURED_BAND if profile.kind == "measured" else BAND


def _with_band(option: PlanOption, request: PlanRequest) -> PlanOption:
    """With the fewest and the most pods if its profile is off by as much as it may be."""
    profile = option.candidate.profile
    if profile is None or not option.feasible:
        return option
    rates = [pod_capacity(_scaled(profile, factor), request).rate for factor in band_of(profile)]
    if not all(rates):
        return option
    fewest, most = (_pods(rate, request) for rate in rates)
    return dataclasses.replace(
        option, replicas_band=(min(fewest, option.replicas), max(most, option.replicas))
    )


def _scaled(profile: PredictorProfile, factor: float) -> PredictorProfile:
    """The same with all its seconds times ``factor``."""
    step = profile.step
    rows = tuple(tuple(value * factor for value in row) for row in step.seconds)
    return dataclasses.replace(
        profile,
        step=StepTable(step.slots, step.context_tokens, rows, step.seconds_per_context_token * factor),
        prefill_seconds_per_token=profile.prefill_seconds_per_token * factor,
        request_overhead_seconds=profile.request_overhead_seconds * factor,
        prefill_step_seconds=profile.prefill_step_seconds * factor,
    )
