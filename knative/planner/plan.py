"""Judges every candidate and ranks them by cost; says what binds where none will do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from knative.planner.capacity import BURST, alone_seconds, pod_capacity, service_p99, whole_service
from knative.planner.demand import Candidate, Capacity, Demand, Option, Plan, Sizes
from knative.planner.derive import BAND, MEMORY_FRACTION
from knative.planner.errors import PlanError
from knative.planner.gpus import GIB
from knative.profile import Profile, StepTable
from knative.simulator.pods import TransformerModel

MEASURED_BAND = (0.9, 1.1)
"""Seconds of a measured profile may be off by these factors: the shipped ones give the load over HTTP within 3 %, and
two machines of one kind differ too."""
VERIFIED = 3
"""Options whose whole service is simulated, the cheapest first."""
RELAXED = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""Times the objective, when looking for the nearest one that can be met."""
TRANSFORMER_LOAD = 0.6
"""Of a transformer's core, and of its connections, to plan with."""
ENTRY_OVERHEAD = 200
"""Bytes of a Redis entry beside its texts: key, framing, Redis' own. An assumption."""
BYTES_PER_CHAR = 3
"""UTF-8 of Chinese; texts and translations together are taken for twice this."""
MAKE_ROOM = 1.2
"""Volume over what is known to lie on it."""


def make_plan(candidates: Sequence[Candidate], demand: Demand) -> Plan:
    """Judge and rank.

    Args:
        candidates: at least one.
        demand: what they must do.

    Raises:
        PlanError: there are no candidates.
    """
    if not candidates:
        raise PlanError("there is nothing to plan with: name a GPU, as in --gpu h200, and slices that it has")
    options = _rank([_judge(candidate, demand) for candidate in candidates])
    if options[0].feasible:
        options = _verified(options, demand)
        return Plan(demand, options, _sizes(options[0], demand))
    nearest, nearest_options = _nearest(candidates, options, demand)
    return Plan(demand, options, None, _binding(options, demand), nearest, nearest_options)


def _judge(candidate: Candidate, demand: Demand) -> Option:
    profile = candidate.profile
    if profile is None:
        return Option(candidate, _does_not_fit(candidate, demand))
    alone = alone_seconds(profile, demand.traffic)
    if alone > demand.p99_s:
        return Option(
            candidate,
            f"too slow: a long text alone takes {_ms(alone)}, the objective is {_ms(demand.p99_s)}",
            Capacity(0.0, 0.0, 0.0, alone),
        )
    capacity = pod_capacity(profile, demand)
    if not capacity.rate:
        return Option(candidate, "too slow: at no load do 99 of 100 keep the objective", capacity)
    replicas = _replicas(capacity.rate, demand)
    gpus = math.ceil(replicas / candidate.part.most)
    option = Option(candidate, "", capacity, replicas, gpus, gpus * candidate.gpu.price)
    if demand.max_gpus is not None and gpus > demand.max_gpus:
        return dataclasses.replace(
            option, replicas=0, reason=f"needs {gpus} GPUs, there are {demand.max_gpus}"
        )
    return option


def _replicas(rate: float, demand: Demand) -> int:
    return math.ceil(demand.misses_per_s / (rate * demand.load))


def _does_not_fit(candidate: Candidate, demand: Demand) -> str:
    slot = candidate.kv_bytes_per_token * demand.max_sequence_tokens
    return (
        f"does not fit: weights {_gib(candidate.weight_bytes)}, one slot {_gib(slot)}, and workspace; "
        f"{MEMORY_FRACTION:.0%} of {_gib(candidate.slice_bytes)} are there"
    )


def _rank(options: list[Option]) -> tuple[Option, ...]:
    """Feasible ones by cost, pods, and measured before derived; the others as they came. Says why each is behind."""
    feasible = sorted((option for option in options if option.feasible), key=_order)
    ranked = feasible[:1]
    for option in feasible[1:]:
        ranked.append(dataclasses.replace(option, reason=_behind(option, feasible[0])))
    return (*ranked, *(option for option in options if not option.feasible))


def _order(option: Option) -> tuple[float, int, bool, bool, float]:
    profile, capacity = option.candidate.profile, option.capacity
    derived = profile is None or profile.kind != "measured"
    mean_s = capacity.mean_s if capacity else math.inf
    return option.cost, option.replicas, derived, option.candidate.part.name != "full", mean_s


def _behind(option: Option, best: Option) -> str:
    if option.cost > best.cost:
        return f"costs {option.cost / best.cost - 1:.0%} more"
    if option.replicas > best.replicas:
        return f"the same cost with {option.replicas} pods instead of {best.replicas}"
    return "the same cost, and no better"


def _verified(options: tuple[Option, ...], demand: Demand) -> tuple[Option, ...]:
    """The cheapest with the whole service simulated, and the band of each one's replicas."""
    checked = []
    for option in options[:VERIFIED]:
        profile, capacity = option.candidate.profile, option.capacity
        if profile is None or capacity is None or not option.feasible:
            checked.append(option)
            continue
        outcome = whole_service(
            profile, demand, replicas=option.replicas, transformers=_transformers(demand, capacity)
        )
        checked.append(
            dataclasses.replace(option, p99_s=service_p99(outcome), replicas_band=_band(profile, demand))
        )
    return (*checked, *options[VERIFIED:])


def band_of(profile: Profile) -> tuple[float, float]:
    """Factors by which a profile's seconds may be off."""
    return MEASURED_BAND if profile.kind == "measured" else BAND


def _band(profile: Profile, demand: Demand) -> tuple[int, int] | None:
    rates = [pod_capacity(_scaled(profile, factor), demand).rate for factor in band_of(profile)]
    if not all(rates):
        return None
    fewest, most = (_replicas(rate, demand) for rate in rates)
    return fewest, most


def _scaled(profile: Profile, factor: float) -> Profile:
    """The same with all its seconds times ``factor``."""
    step = profile.step
    rows = tuple(tuple(value * factor for value in row) for row in step.seconds)
    return dataclasses.replace(
        profile,
        step=StepTable(step.slots, step.past, rows, step.past_seconds_per_token * factor),
        prefill_seconds_per_token=profile.prefill_seconds_per_token * factor,
        request_seconds=profile.request_seconds * factor,
    )


def _transformers(demand: Demand, capacity: Capacity) -> int:
    """Enough cores for all requests, and connections for all misses that are under way."""
    model = TransformerModel()
    work = demand.misses_per_s * model.miss_seconds + demand.qps * demand.hit_rate * model.hit_seconds
    under_way = demand.misses_per_s * capacity.mean_s / model.max_connections
    return max(2, math.ceil(max(work, under_way) / TRANSFORMER_LOAD))


def _sizes(best: Option, demand: Demand) -> Sizes | None:
    candidate, capacity = best.candidate, best.capacity
    if capacity is None:
        return None
    # With more pods the same load is less concurrency, since answers come sooner. The target counts with that, or
    # the autoscaler would go below what the load needs as soon as it has more than that.
    per_pod = demand.misses_per_s / best.replicas * capacity.light_s
    entry = int(2 * BYTES_PER_CHAR * demand.traffic.chars) + ENTRY_OVERHEAD
    return Sizes(
        container_concurrency=candidate.slots,
        scale_target=max(1, min(candidate.slots, math.floor(per_pod))),
        min_replicas=best.replicas,
        max_replicas=math.ceil(best.replicas * BURST),
        transformer_replicas=_transformers(demand, capacity),
        volume_bytes=int(2 * (_release_bytes(candidate) + candidate.weight_bytes) * MAKE_ROOM),
        cache_entry_bytes=entry,
        cache_bytes_per_hour=int(entry * demand.misses_per_s * 3600),
    )


def _release_bytes(candidate: Candidate) -> int:
    """A release's own weights beside the plan: 16 bits, whatever the plan's precision."""
    return candidate.weight_bytes if candidate.precision == "float16" else 2 * candidate.weight_bytes


def _binding(options: Sequence[Option], demand: Demand) -> str:
    """What stands in the way, of the candidate that comes closest."""
    if all(option.capacity is None for option in options):
        smallest = min(options, key=lambda option: option.candidate.weight_bytes)
        largest = max(option.candidate.slice_bytes for option in options)
        return (
            f"memory: the weights take {_gib(smallest.candidate.weight_bytes)} at the least, the largest device has "
            f"{_gib(largest)}; take a larger GPU, or a smaller model"
        )
    over = [option for option in options if option.gpus]
    if over:
        fewest = min(option.gpus for option in over)
        return f"GPUs: {fewest} would do, {demand.max_gpus} are there"
    fastest = min(option.capacity.alone_s for option in options if option.capacity is not None)
    if fastest <= demand.p99_s:
        return f"latency: a long text alone takes {_ms(fastest)}, which leaves no room for a load"
    return (
        f"latency: a long text alone takes {_ms(fastest)} on the fastest of these, at any price; the objective is "
        f"{_ms(demand.p99_s)}"
    )


def _nearest(
    candidates: Sequence[Candidate], options: Sequence[Option], demand: Demand
) -> tuple[Demand | None, tuple[Option, ...]]:
    """The closest demand that can be met: fewer requests where GPUs bind, a longer objective where time does."""
    over = [option for option in options if option.gpus and option.capacity is not None]
    if over and demand.max_gpus is not None:
        most = max(
            demand.max_gpus * o.candidate.part.most * o.capacity.rate * demand.load
            for o in over
            if o.capacity is not None
        )
        fewer = dataclasses.replace(demand, qps=math.floor(most / (1 - demand.hit_rate)))
        return _if_met(candidates, [fewer] if fewer.qps else [])
    objectives = [demand.p99_s * factor for factor in RELAXED]
    return _if_met(candidates, [dataclasses.replace(demand, p99_s=seconds) for seconds in objectives])


def _if_met(
    candidates: Sequence[Candidate], demands: Sequence[Demand]
) -> tuple[Demand | None, tuple[Option, ...]]:
    for demand in demands:
        options = _rank([_judge(candidate, demand) for candidate in candidates])
        if options[0].feasible:
            return demand, _verified(options, demand)
    return None, ()


def _gib(nbytes: int) -> str:
    return f"{nbytes / GIB:.1f} GiB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
