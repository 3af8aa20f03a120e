"""A plan: the options, the best first, and what goes with it; or what binds where nothing will do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from knative.planner.capacity import BURST, long_text
from knative.planner.errors import PlanError
from knative.planner.formatting import gibibytes, milliseconds
from knative.planner.nearest import find_nearest
from knative.planner.options import Reporter, find_options, silent, transformers_for
from knative.planner.request import CapacityPlan, PlanCandidate, PlanOption, PlanRequest, Sizing

ENTRY_OVERHEAD = 200
"""Bytes of a Redis entry beside its texts: key, framing, Redis' own. An assumption."""
BYTES_PER_CHAR = 3
"""UTF-8 of Chinese; texts and translations together are taken for twice this."""
FIT = 0.999
"""Of all texts, that must fit into a slot."""
MAKE_ROOM = 1.2
"""Volume over what is known to lie on it."""


def make_plan(
    candidates: Sequence[PlanCandidate], request: PlanRequest, report: Reporter = silent
) -> CapacityPlan:
    """Judge and rank.

    Args:
        candidates: at least one.
        request: workload, SLO and limits.
        report: is told of every simulation, before it begins.

    Raises:
        PlanError: there are no candidates, or long texts do not fit into a slot.
    """
    if not candidates:
        raise PlanError("there is nothing to plan with: name a GPU, as in --gpu h200, and slices that it has")
    _check_length(request)
    options = find_options(candidates, request, report)
    if options[0].feasible:
        return CapacityPlan(request, options, _sizes(options[0], request))
    nearest, nearest_options = find_nearest(candidates, options, request, report)
    return CapacityPlan(request, options, None, _binding(options, request), nearest, nearest_options)


def _check_length(request: PlanRequest) -> None:
    """Refuse slots that many texts do not fit into: those fail, and an objective allows 1 of 100 to fail."""
    prompt, new = long_text(request.workload.traffic, FIT)
    if prompt + new > request.max_sequence_tokens:
        raise PlanError(
            f"a long text ({FIT:.1%} are shorter) takes {prompt + new:,} tokens, {prompt:,} of prompt and {new:,} of "
            f"answer, and a slot has {request.max_sequence_tokens:,}: give --max-tokens {prompt + new} or more, or "
            "shorter texts as --chars"
        )


def _sizes(best: PlanOption, request: PlanRequest) -> Sizing | None:
    candidate, capacity = best.candidate, best.capacity
    if capacity is None:
        return None
    # With more pods the same load is less concurrency, since answers come sooner. The target counts with that, or
    # the autoscaler would go below what the load needs as soon as it has more than that.
    per_pod = request.workload.misses_per_s / best.replicas * capacity.light_s
    entry = int(2 * BYTES_PER_CHAR * request.workload.traffic.chars) + ENTRY_OVERHEAD
    transformers = transformers_for(request, capacity)
    return Sizing(
        container_concurrency=candidate.slots,
        scale_target=max(1, min(candidate.slots, math.floor(per_pod))),
        min_replicas=best.replicas,
        max_replicas=_most_pods(best, request),
        transformer_replicas=transformers,
        transformer_max_replicas=math.ceil(transformers * BURST),
        volume_bytes=int(2 * (_release_bytes(candidate) + candidate.weight_bytes) * MAKE_ROOM),
        cache_entry_bytes=entry,
        cache_bytes_per_hour=int(entry * request.workload.misses_per_s * 3600),
    )


def _most_pods(best: PlanOption, request: PlanRequest) -> int:
    """Those planned and more for bursts, as far as there are GPUs."""
    wanted = math.ceil(best.replicas * BURST)
    if request.max_gpus is None:
        return wanted
    return min(wanted, request.max_gpus * best.candidate.gpu_slice.max_per_gpu)


def _release_bytes(candidate: PlanCandidate) -> int:
    """A release's own weights beside the plan: 16 bits, whatever the plan's precision."""
    return candidate.weight_bytes if candidate.precision == "float16" else 2 * candidate.weight_bytes


def _binding(options: Sequence[PlanOption], request: PlanRequest) -> str:
    """What stands in the way, of the candidate that comes closest."""
    if all(option.capacity is None for option in options):
        smallest = min(options, key=lambda option: option.candidate.weight_bytes)
        largest = max(option.candidate.slice_bytes for option in options)
        return (
            f"memory: the weights take {gibibytes(smallest.candidate.weight_bytes)} at the least, the largest device "
            f"has {gibibytes(largest)}; take a larger GPU, or a smaller model"
        )
    over = [option for option in options if option.gpus]
    if over:
        fewest = min(option.gpus for option in over)
        return f"GPUs: {fewest} would do, --max-gpus is {request.max_gpus}"
    fastest = min(option.capacity.alone_s for option in options if option.capacity is not None)
    if fastest <= request.slo.p99_s:
        return f"latency: a long text alone takes {milliseconds(fastest)}, which leaves no room for a load"
    return (
        f"latency: a long text alone takes {milliseconds(fastest)} on the fastest of these, at any price; the "
        f"objective is {milliseconds(request.slo.p99_s)}"
    )
