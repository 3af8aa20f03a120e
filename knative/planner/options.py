"""Evaluates candidates and ranks them by cost, with as few simulations as the cheapest three need.

An option has three states. Bounded: the lower bound of its cost is known, from slots that are always busy. Judged:
the capacity of a pod is known, and with it the number of pods. Verified: all pods were simulated together. An option
whose lower bound is above the third cheapest is never judged.
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
from knative.planner.request import CapacityRequest, PlanCandidate, PlanOption, PodCapacity
from knative.profiling.profile import PredictorProfile, StepTable
from knative.simulator.cluster.pods import TransformerModel

MEASURED_BAND = (0.9, 1.1)
"""Factors by which the times of a measured profile may be wrong: the shipped ones predict throughput over HTTP within
3 %, and machines of one kind differ."""
VERIFIED = 3
"""Number of cheapest options whose whole service is simulated."""
MORE_PODS = (0.0, 0.1, 0.2, 0.3)
"""Shares of an option's pods to add, in this order, while the whole service misses the SLO; at least one pod."""
TRANSFORMER_LOAD = 0.6
"""Utilization of a transformer's core and connections to plan with."""

Reporter = Callable[[str], None]
"""Called with a description of each simulation before it runs."""


def silent(_: str) -> None:
    """A reporter that ignores everything."""


def find_options(
    candidates: Sequence[PlanCandidate], request: CapacityRequest, report: Reporter = silent
) -> tuple[PlanOption, ...]:
    """All candidates as options, the best first; the feasible ones among the first three are verified.

    Args:
        candidates: to choose from.
        request: workload, SLO and limits.
        report: called before every simulation.
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
    """Index of the option to evaluate next; None if the first three are known."""
    feasible = [index for index, option in enumerate(options) if option.feasible]
    first = sorted(feasible, key=lambda index: _order(options[index]))[:VERIFIED]
    limit = options[first[-1]].cost if len(first) == VERIFIED else math.inf
    unknown = [i for i, option in enumerate(options) if not option.judged and option.cost <= limit]
    if unknown:
        return min(unknown, key=lambda index: options[index].cost)
    return next((index for index in first if options[index].p99_s is None), None)


def _bounded(candidate: PlanCandidate, request: CapacityRequest) -> PlanOption:
    """Estimate without a simulation: the reason why it is infeasible, or a lower bound of its cost."""
    profile = candidate.profile
    if profile is None:
        return PlanOption(candidate, _does_not_fit(candidate, request))
    if not candidate.pods_per_gpu:
        return PlanOption(candidate, f"does not fit the node: a pod asks for {candidate.host}")
    alone = alone_seconds(profile, request.workload.traffic) + overhead_seconds(profile)
    if alone > request.slo.p99_s:
        return PlanOption(
            candidate,
            f"too slow: a long text alone takes {milliseconds(alone)}, the objective is "
            f"{milliseconds(request.slo.p99_s)}",
            PodCapacity(0.0, 0.0, 0.0, alone),
        )
    pods = _pods(max_search_rate(profile, request.workload), request)
    gpus = candidate.gpus_for(pods)
    return PlanOption(candidate, "", gpus=gpus, cost=gpus * candidate.gpu.price, judged=False)


def judge(candidate: PlanCandidate, request: CapacityRequest) -> PlanOption:
    """An option with the capacity of a pod and the number of pods for the load."""
    known = _bounded(candidate, request)
    if known.judged or candidate.profile is None:
        return known
    capacity = pod_capacity(candidate.profile, request)
    if not capacity.rate:
        return PlanOption(candidate, "too slow: at no load do 99 of 100 keep the objective", capacity)
    return _sized(PlanOption(candidate, "", capacity), _pods(capacity.rate, request), request)


def _sized(option: PlanOption, pods: int, request: CapacityRequest) -> PlanOption:
    """The same with ``pods`` pods, or infeasible if they need too many GPUs."""
    gpus = option.candidate.gpus_for(pods)
    over = request.max_gpus is not None and gpus > request.max_gpus
    return dataclasses.replace(
        option,
        replicas=0 if over else pods,
        gpus=gpus,
        cost=gpus * option.candidate.gpu.price,
        reason=f"needs {counted(gpus, 'GPU')}, --max-gpus is {request.max_gpus}" if over else option.reason,
    )


def _verified(option: PlanOption, request: CapacityRequest) -> PlanOption:
    """The same after simulating the whole service, with more pods if needed; infeasible if these do not suffice."""
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


def _pods(rate: float, request: CapacityRequest) -> int:
    """Number of pods for the load, if each does ``rate`` misses per second."""
    return math.ceil(request.workload.misses_per_s / (rate * request.target_utilization))


def transformers_for(request: CapacityRequest, capacity: PodCapacity) -> int:
    """Number of transformers, by CPU time for all requests and by connections for all misses in flight."""
    model = TransformerModel()
    work = (
        request.workload.text_misses_per_s * model.miss_seconds
        + request.workload.qps * request.workload.hit_rate * model.hit_seconds
    )
    under_way = request.workload.text_misses_per_s * capacity.mean_s / model.max_connections
    return max(2, math.ceil(max(work, under_way) / TRANSFORMER_LOAD))


def _does_not_fit(candidate: PlanCandidate, request: CapacityRequest) -> str:
    slot = candidate.kv_bytes_per_token * request.max_sequence_tokens
    return (
        f"does not fit: weights {gibibytes(candidate.weight_bytes)}, one slot {gibibytes(slot)}, and workspace; "
        f"{MEMORY_FRACTION:.0%} of {gibibytes(candidate.slice_bytes)} are there"
    )


def _rank(options: Sequence[PlanOption]) -> tuple[PlanOption, ...]:
    """Feasible options by :func:`_order`, then those that were not judged by their bound, then the others.

    Each gets the reason why it is not the first.
    """
    feasible = sorted((option for option in options if option.feasible), key=_order)
    dearer = sorted((option for option in options if not option.judged), key=lambda option: option.cost)
    behind = [
        dataclasses.replace(option, reason=_behind(option, feasible[0]))
        for option in (*feasible[1:], *dearer)
    ]
    return (*feasible[:1], *behind, *(option for option in options if option.judged and not option.feasible))


def _order(option: PlanOption) -> tuple[float, int, bool, bool, float]:
    """Sort key: cost, pods, measured before derived, whole GPUs before slices."""
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
    """Factors by which the times of a profile may be wrong."""
    return MEASURED_BAND if profile.kind == "measured" else BAND


def _with_band(option: PlanOption, request: CapacityRequest) -> PlanOption:
    """The same with the fewest and most pods, for the factors of :func:`band_of`."""
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
    """The same profile with all times multiplied by ``factor``."""
    step = profile.step
    rows = tuple(tuple(value * factor for value in row) for row in step.seconds)
    return dataclasses.replace(
        profile,
        step=StepTable(step.slots, step.context_tokens, rows, step.seconds_per_context_token * factor),
        prefill_seconds_per_token=profile.prefill_seconds_per_token * factor,
        request_overhead_seconds=profile.request_overhead_seconds * factor,
        prefill_step_seconds=profile.prefill_step_seconds * factor,
    )
