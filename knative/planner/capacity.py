"""Capacity of one pod within an SLO, found by simulating it at different rates."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from knative.autoscaler.annotations import GROUP, RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.planner.request import CapacityRequest, PodCapacity
from knative.profiling.profile import PredictorProfile
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.engine.events import Status
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.load.trace import Floats
from knative.simulator.load.workload import CacheModel, Traffic
from knative.simulator.result import SimulationResult, percentile
from knative.simulator.scenarios.scenario import PredictorService, Scenario, TransformerService
from knative.simulator.simulation import simulate

REQUESTS = 4000
"""Fewest requests of a simulation: forty of them lie above P99."""
SECONDS = 10.0
"""Shortest simulation, seconds: a queue needs time to grow."""
HALVINGS = 7
"""Bisections of the search interval: the rate is found to within 1 %."""
SEARCH_MARGIN = 1.1
"""Upper end of the search, relative to the throughput of busy slots: above any capacity, whatever texts are drawn."""
BURST = 1.5
"""``maxReplicas`` over the planned replicas."""
TIMEOUT_FACTOR = 20.0
"""Timeout over the objective: long enough for late answers to be seen."""


def fixed_scaling(pods: int, container_concurrency: int) -> RevisionScaling:
    """The settings of a revision with a fixed number of pods."""
    scale = {GROUP + name: str(pods) for name in ("min-scale", "max-scale", "initial-scale")}
    return revision_scaling(scale, container_concurrency, AutoscalerConfig())


def long_text(traffic: Traffic, share: float = 0.99) -> tuple[int, int]:
    """Tokens of prompt and answer of a long text: ``share`` of all texts are shorter."""
    sigma = math.sqrt(math.log1p(traffic.spread**2))
    chars = traffic.chars * math.exp(NormalDist().inv_cdf(share) * sigma - sigma**2 / 2)
    prompt = traffic.template_tokens + math.ceil(chars * traffic.prompt_tokens_per_char)
    return prompt, 1 + math.ceil(chars * traffic.new_tokens_per_char)


def alone_seconds(profile: PredictorProfile, traffic: Traffic) -> float:
    """Latency in seconds of a long text in an otherwise idle pod."""
    prompt, new = long_text(traffic)
    step = profile.step_seconds(1, prompt + new / 2)
    reading = profile.prefill_step_seconds + prompt * profile.prefill_seconds_per_token
    return profile.request_overhead_seconds + reading + new * step


def max_throughput(profile: PredictorProfile, traffic: Traffic) -> float:
    """Requests per second of a pod whose slots are all busy: the most under any SLO."""
    prompt = traffic.template_tokens + traffic.chars * traffic.prompt_tokens_per_char
    new = 1 + traffic.chars * traffic.new_tokens_per_char
    step = profile.step_seconds(profile.slots, prompt + new / 2)
    extra = prompt * profile.prefill_seconds_per_token + profile.request_overhead_seconds
    return 1 / (new * step / profile.slots + extra)


def max_search_rate(profile: PredictorProfile, traffic: Traffic) -> float:
    """Upper end of the search for a pod's capacity, requests per second."""
    return max_throughput(profile, traffic) * SEARCH_MARGIN


def overhead_seconds(profile: PredictorProfile) -> float:
    """What comes on top of the predictor: the transformer's work on a miss and the way there."""
    service = Scenario("", (PredictorService("", fixed_scaling(1, 0), profile),))
    return service.overhead_s + TransformerModel().miss_seconds


def meets_slo(profile: PredictorProfile, request: CapacityRequest, rate: float) -> bool:
    """Whether one pod meets the SLO. Runs one simulation.

    Args:
        profile: of the predictor.
        request: SLO and workload.
        rate: cache misses per second.
    """
    objective = request.slo.p99_s - overhead_seconds(profile)
    if objective <= 0:
        return False
    latency_s = percentile(_alone(profile, request, rate, objective), request.workload.miss_percentile)
    return latency_s is not None and latency_s <= objective


def min_search_rate(profile: PredictorProfile, traffic: Traffic) -> float:
    """Lower end of the search for a pod's capacity, requests per second."""
    return max_search_rate(profile, traffic) / 2.0**HALVINGS


def pod_capacity(profile: PredictorProfile, request: CapacityRequest) -> PodCapacity:
    """The highest rate of misses at which one pod meets the SLO, less the time outside of the predictor."""
    overhead = overhead_seconds(profile)
    objective = request.slo.p99_s - overhead
    alone = alone_seconds(profile, request.workload.traffic) + overhead
    low, high = 0.0, max_search_rate(profile, request.workload.traffic)
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        if meets_slo(profile, request, rate):
            low = rate
        else:
            high = rate
    if not low:
        return PodCapacity(0.0, 0.0, 0.0, alone)
    planned, light = (
        _alone(profile, request, low * request.target_utilization / burst, objective)
        for burst in (1.0, BURST)
    )
    return PodCapacity(low, float(planned.mean()), float(light.mean()), alone)


def whole_service(
    profile: PredictorProfile, request: CapacityRequest, *, replicas: int, transformers: int
) -> SimulationResult:
    """Simulate the planned service under the whole load.

    Args:
        profile: of the predictor.
        request: SLO and workload.
        replicas: predictor pods, a fixed number.
        transformers: transformer pods, a fixed number.
    """
    seconds = max(SECONDS, REQUESTS / request.workload.qps)
    service = Scenario(
        "planned",
        (PredictorService("predictor", fixed_scaling(replicas, profile.slots), profile),),
        TransformerService(fixed_scaling(transformers, 0)),
        traffic=request.workload.traffic,
        cache=CacheModel(kind="rate", rate=request.workload.hit_rate),
        timeout_s=request.slo.p99_s * TIMEOUT_FACTOR,
        slo_s=request.slo.p99_s,
        seed=request.seed,
    )
    return simulate(
        service, generate_arrivals(f"poisson:rate={request.workload.qps},seconds={seconds}", request.seed)
    )


def service_p99(result: SimulationResult) -> float | None:
    """P99 in seconds over all requests, failed ones counted as infinite; None if more than 1 % failed."""
    latencies = np.where(result.answered(), result.caller_latencies(), np.inf)
    value = float(np.percentile(latencies, 99, method="higher"))
    return value if math.isfinite(value) else None


def _alone(profile: PredictorProfile, request: CapacityRequest, rate: float, objective: float) -> Floats:
    """Latencies in seconds of one pod without a concurrency limit; failed requests count as the timeout."""
    seconds = max(SECONDS, REQUESTS / rate)
    service = Scenario(
        "one pod",
        (PredictorService("pod", fixed_scaling(1, 0), profile),),
        traffic=request.workload.traffic,
        timeout_s=objective * TIMEOUT_FACTOR,
        slo_s=objective,
        overhead_s=0.0,
        seed=request.seed,
    )
    result = simulate(service, generate_arrivals(f"poisson:rate={rate},seconds={seconds}", request.seed))
    return np.where(result.statuses == Status.OK, result.latencies, service.timeout_s)
