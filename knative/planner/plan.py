"""Makes a plan: ranked options and sizes, or the binding constraint if no option is feasible."""

from __future__ import annotations

import math
from collections.abc import Sequence

from knative.planner.capacity import BURST, long_text
from knative.planner.errors import PlanError
from knative.planner.formatting import gibibytes, milliseconds
from knative.planner.nearest import find_nearest
from knative.planner.options import Reporter, find_options, silent, transformers_for
from knative.planner.request import CapacityPlan, CapacityRequest, PlanCandidate, PlanOption, Sizing

ENTRY_OVERHEAD = 200
"""Assumed bytes of a Redis entry beside its texts: key, framing and Redis' own."""
BYTES_PER_CHAR = 3
"""UTF-8 of Chinese. A text and its translation are assumed to take twice this."""
FIT = 0.999
"""Share of all texts that must fit into a slot."""
VOLUME_MARGIN = 1.2
"""Size of the volume over the bytes of its files."""


def make_plan(
    candidates: Sequence[PlanCandidate], request: CapacityRequest, report: Reporter = silent
) -> CapacityPlan:
    """Evaluate candidates and make a plan of the best.

    Args:
        candidates: at least one.
        request: workload, SLO and limits.
        report: called before every simulation.

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


def _check_length(request: CapacityRequest) -> None:
    """Refuse slots that too many texts do not fit into: they fail, and P99 allows 1 % to fail."""
    prompt, new = long_text(request.workload.traffic, FIT)
    if prompt + new > request.max_sequence_tokens:
        raise PlanError(
            f"a long text ({FIT:.1%} are shorter) takes {prompt + new:,} tokens, {prompt:,} of prompt and {new:,} of "
            f"answer, and a slot has {request.max_sequence_tokens:,}: give --max-tokens {prompt + new} or more, or "
            "shorter texts as --chars"
        )


def _sizes(best: PlanOption, request: CapacityRequest) -> Sizing | None:
    candidate, capacity = best.candidate, best.capacity
    if capacity is None:
        return None
    # With more pods latency and thus total concurrency fall. The target takes this into account; otherwise the
    # autoscaler would scale below the pods that the load needs as soon as there are more.
    per_pod = request.workload.text_misses_per_s / best.replicas * capacity.light_s
    entry = int(2 * BYTES_PER_CHAR * request.workload.traffic.chars) + ENTRY_OVERHEAD
    transformers = transformers_for(request, capacity)
    return Sizing(
        container_concurrency=candidate.slots,
        scale_target=max(1, min(candidate.slots, math.floor(per_pod))),
        min_replicas=best.replicas,
        max_replicas=_most_pods(best, request),
        transformer_replicas=transformers,
        transformer_max_replicas=math.ceil(transformers * BURST),
        volume_bytes=int(2 * (_release_bytes(candidate) + candidate.weight_bytes) * VOLUME_MARGIN),
        cache_entry_bytes=entry,
        cache_bytes_per_hour=int(entry * request.workload.text_misses_per_s * 3600),
    )


def _most_pods(best: PlanOption, request: CapacityRequest) -> int:
    """``maxReplicas``: planned pods and a margin for bursts, within the GPUs."""
    wanted = math.ceil(best.replicas * BURST)
    if request.max_gpus is None:
        return wanted
    return min(wanted, int(request.max_gpus * best.candidate.pods_per_gpu))


def _release_bytes(candidate: PlanCandidate) -> int:
    """Bytes of a release's ONNX weights beside the plan: 16 bits, whatever the precision of the plan."""
    return candidate.weight_bytes if candidate.precision == "float16" else 2 * candidate.weight_bytes


def _binding(options: Sequence[PlanOption], request: CapacityRequest) -> str:
    """The binding constraint of the candidate that comes closest."""
    if all(option.capacity is None for option in options):
        if pods := [option.candidate.host for option in options if option.candidate.profile is not None]:
            least = min(pods, key=lambda pod: (pod.cpus, pod.memory_bytes))
            return (
                f"nodes: a pod asks for {least} at the least, and none fits on the node of --node; take larger "
                "nodes, or give what a pod needs as --pod-cpu and --pod-memory"
            )
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
