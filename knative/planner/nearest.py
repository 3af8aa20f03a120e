"""The closest feasible request, where one is not feasible: a longer objective, a lower load, or both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from knative.planner.capacity import alone_seconds, max_search_rate, meets_slo, min_search_rate
from knative.planner.formatting import milliseconds
from knative.planner.options import Reporter, find_options
from knative.planner.request import CapacityRequest, PlanCandidate, PlanOption

GROWTH = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""Factors over the latency of the fastest option's long text; the first feasible one starts the search."""
NEAR = 1.05
"""Largest ratio of the objective that is found to the shortest feasible one."""
USEFUL = 2.0
"""Factor over the shortest objective where GPUs are limited as well: at the shortest a pod has almost no capacity."""
RETRIES = (1.0, 1.05, 1.1, 1.25)
"""Factors by which an objective is relaxed, or a load divided, until the whole service is feasible."""

Nearest: TypeAlias = "tuple[CapacityRequest | None, tuple[PlanOption, ...]]"


def find_nearest(
    candidates: Sequence[PlanCandidate],
    options: Sequence[PlanOption],
    request: CapacityRequest,
    report: Reporter,
) -> Nearest:
    """The closest feasible request and its options; None without options if the model fits nowhere.

    Args:
        candidates: to choose from.
        options: the same, judged for ``request``; none is feasible.
        request: the infeasible one.
        report: called before every simulation.
    """
    alone = [option.capacity.alone_s for option in options if option.capacity is not None]
    if not alone:
        return None, ()
    if any(option.gpus for option in options):
        return _fewer(candidates, options, request, report)
    shortest = _shortest(candidates, request, min(alone), report)
    if shortest is not None:
        return _settle(candidates, _longer(request, shortest), report)
    unbound = dataclasses.replace(request, max_gpus=None)
    shortest = _shortest(candidates, unbound, min(alone), report)
    if shortest is None:
        return None, ()
    relaxed = request.with_p99(shortest * USEFUL)
    return _fewer(candidates, find_options(candidates, relaxed, report), relaxed, report)


def _shortest(
    candidates: Sequence[PlanCandidate], request: CapacityRequest, alone_s: float, report: Reporter
) -> float | None:
    """The shortest feasible objective in seconds, within :data:`NEAR`; None if a hundredfold is infeasible.

    Args:
        candidates: to choose from.
        request: workload and limits.
        alone_s: latency of the fastest option's long text: the lower bound.
        report: called for every objective that is tried.
    """

    def met(seconds: float) -> bool:
        report(f"looking for the nearest objective: {milliseconds(seconds)}")
        asked = request.with_p99(seconds)
        return any(_meets(candidate, asked) for candidate in candidates)

    start = low = max(alone_s, request.slo.p99_s)
    for factor in GROWTH:
        high = start * factor
        if met(high):
            break
        low = high
    else:
        return None
    while high / low > NEAR:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if met(middle) else (middle, high)
    return high


def _meets(candidate: PlanCandidate, request: CapacityRequest) -> bool:
    """Whether a pod meets the SLO at its share of the load, or at any load. Runs at most one simulation."""
    profile = candidate.profile
    if profile is None or not candidate.pods_per_gpu:
        return False
    if alone_seconds(profile, request.workload.traffic) > request.slo.p99_s:
        return False
    rate = min_search_rate(profile, request.workload)
    if request.max_gpus is not None:
        pods = int(request.max_gpus * candidate.pods_per_gpu)
        if not pods:
            return False
        rate = max(rate, request.workload.misses_per_s / (pods * request.target_utilization))
    return rate <= max_search_rate(profile, request.workload) and meets_slo(profile, request, rate)


def _longer(request: CapacityRequest, shortest: float) -> Iterable[CapacityRequest]:
    return (request.with_p99(_three_digits(shortest * more, math.ceil)) for more in RETRIES)


def _fewer(
    candidates: Sequence[PlanCandidate],
    options: Sequence[PlanOption],
    request: CapacityRequest,
    report: Reporter,
) -> Nearest:
    """The request with the highest load that the GPUs serve within the SLO."""
    rates = [
        option.candidate.pods_per_gpu * option.capacity.rate
        for option in options
        if option.capacity is not None
    ]
    most = (
        max(rates, default=0.0)
        * (request.max_gpus or 0)
        * request.target_utilization
        / (1 - request.workload.hit_rate)
    )
    if not most:
        return None, ()
    loads = (
        request.with_qps(min(request.workload.qps, _three_digits(most / less, math.floor)))
        for less in RETRIES
    )
    return _settle(candidates, loads, report)


def _settle(
    candidates: Sequence[PlanCandidate], requests: Iterable[CapacityRequest], report: Reporter
) -> Nearest:
    """The first request that whole services meet."""
    for request in requests:
        options = find_options(candidates, request, report)
        if options[0].feasible:
            return request, options
    return None, ()


def _three_digits(value: float, rounding: Callable[[float], int]) -> float:
    """Round to three digits, so that the displayed number is a valid request."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{rounding(value / unit) * unit:.3g}")
