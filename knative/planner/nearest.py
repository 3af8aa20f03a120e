"""The closest demand that can be met, where one cannot: a longer objective, fewer requests, or both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from knative.planner.capacity import alone_seconds, keeps_objective, max_search_rate, min_search_rate
from knative.planner.formatting import milliseconds
from knative.planner.options import Reporter, find_options
from knative.planner.request import Demand, PlanCandidate, PlanOption

GROWTH = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""Times the time of the fastest option's long text: the first of these that can be met is where the search begins."""
NEAR = 1.05
"""How far the objective that is found may lie above the shortest that can be met, as a factor."""
USEFUL = 2.0
"""Times the shortest objective, where GPUs bind as well: at the shortest itself a pod carries next to nothing."""
RETRIES = (1.0, 1.05, 1.1, 1.25)
"""An objective is relaxed by these until whole services keep it too; a load is divided by them."""

Nearest: TypeAlias = "tuple[Demand | None, tuple[PlanOption, ...]]"


def find_nearest(
    candidates: Sequence[PlanCandidate], options: Sequence[PlanOption], demand: Demand, report: Reporter
) -> Nearest:
    """A demand that can be met with its options, or nothing where the model fits nowhere.

    Args:
        candidates: to choose from.
        options: the same, judged by ``demand``; none is feasible.
        demand: what cannot be met.
        report: is told of every simulation.
    """
    alone = [option.capacity.alone_s for option in options if option.capacity is not None]
    if not alone:
        return None, ()
    if any(option.gpus for option in options):
        return _fewer(candidates, options, demand, report)
    shortest = _shortest(candidates, demand, min(alone), report)
    if shortest is not None:
        return _settle(candidates, _longer(demand, shortest), report)
    unbound = dataclasses.replace(demand, max_gpus=None)
    shortest = _shortest(candidates, unbound, min(alone), report)
    if shortest is None:
        return None, ()
    relaxed = dataclasses.replace(demand, p99_s=shortest * USEFUL)
    return _fewer(candidates, find_options(candidates, relaxed, report), relaxed, report)


def _shortest(
    candidates: Sequence[PlanCandidate], demand: Demand, alone_s: float, report: Reporter
) -> float | None:
    """Seconds of the shortest objective that can be met, within :data:`NEAR`; None if a hundredfold is none.

    Args:
        candidates: to choose from.
        demand: the load.
        alone_s: of the fastest option's long text; no objective below it can be met.
        report: is told of every objective that is tried.
    """

    def met(seconds: float) -> bool:
        report(f"looking for the nearest objective: {milliseconds(seconds)}")
        asked = dataclasses.replace(demand, p99_s=seconds)
        return any(_meets(candidate, asked) for candidate in candidates)

    start = low = max(alone_s, demand.p99_s)
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


def _meets(candidate: PlanCandidate, demand: Demand) -> bool:
    """Whether a pod keeps the objective at the load that the GPUs leave it, or at any. One simulation at most."""
    profile = candidate.profile
    if profile is None or alone_seconds(profile, demand.traffic) > demand.p99_s:
        return False
    rate = min_search_rate(profile, demand.traffic)
    if demand.max_gpus is not None:
        pods = demand.max_gpus * candidate.gpu_slice.max_per_gpu
        rate = max(rate, demand.misses_per_s / (pods * demand.load))
    return rate <= max_search_rate(profile, demand.traffic) and keeps_objective(profile, demand, rate)


def _longer(demand: Demand, shortest: float) -> Iterable[Demand]:
    return (dataclasses.replace(demand, p99_s=_three_digits(shortest * more, math.ceil)) for more in RETRIES)


def _fewer(
    candidates: Sequence[PlanCandidate], options: Sequence[PlanOption], demand: Demand, report: Reporter
) -> Nearest:
    """The most requests that the GPUs do within the objective."""
    rates = [
        option.candidate.gpu_slice.max_per_gpu * option.capacity.rate
        for option in options
        if option.capacity is not None
    ]
    most = max(rates, default=0.0) * (demand.max_gpus or 0) * demand.load / (1 - demand.hit_rate)
    if not most:
        return None, ()
    loads = (
        dataclasses.replace(demand, qps=min(demand.qps, _three_digits(most / less, math.floor)))
        for less in RETRIES
    )
    return _settle(candidates, loads, report)


def _settle(candidates: Sequence[PlanCandidate], demands: Iterable[Demand], report: Reporter) -> Nearest:
    """The first of some demands that whole services meet."""
    for demand in demands:
        options = find_options(candidates, demand, report)
        if options[0].feasible:
            return demand, options
    return None, ()


def _three_digits(value: float, rounding: Callable[[float], int]) -> float:
    """Rounded up or down, so that what is shown can be asked for."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{rounding(value / unit) * unit:.3g}")
