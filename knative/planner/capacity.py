"""What one pod can do within an objective, found by simulating it alone at rising rates."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from knative.autoscaler.annotations import GROUP, RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.planner.request import PlanRequest, PodCapacity
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
"""Of one simulation, at least: P99 has forty of them behind it."""
SECONDS = 10.0
"""Of one simulation, at least: a queue must have time to grow."""
HALVINGS = 7
"""Of the interval that the rate is looked for in: to within a hundredth."""
ABOVE_MOST = 1.1
"""Times what busy slots can do: no capacity is as high, whatever texts were drawn."""
BURST = 1.5
"""Most replicas over those planned."""
PATIENCE = 20.0
"""Timeout over the objective: long enough not to hide what is late."""


def fixed_scaling(pods: int, container_concurrency: int) -> RevisionScaling:
    """A revision of so many pods, no more and no less."""
    scale = {GROUP + name: str(pods) for name in ("min-scale", "max-scale", "initial-scale")}
    return revision_scaling(scale, container_concurrency, AutoscalerConfig())


def long_text(traffic: Traffic, share: float = 0.99) -> tuple[int, int]:
    """Prompt and answer, in tokens, of a text that this share of all are shorter than."""
    sigma = math.sqrt(math.log1p(traffic.spread**2))
    chars = traffic.chars * math.exp(NormalDist().inv_cdf(share) * sigma - sigma**2 / 2)
    prompt = traffic.template_tokens + math.ceil(chars * traffic.prompt_tokens_per_char)
    return prompt, 1 + math.ceil(chars * traffic.new_tokens_per_char)


def alone_seconds(profile: PredictorProfile, traffic: Traffic) -> float:
    """Latency of a long text with nothing else in the pod."""
    prompt, new = long_text(traffic)
    step = profile.step_seconds(1, prompt + new / 2)
    reading = profile.prefill_step_seconds + prompt * profile.prefill_seconds_per_token
    return profile.request_overhead_seconds + reading + new * step


def max_throughput(profile: PredictorProfile, traffic: Traffic) -> float:
    """Requests per second of a pod whose slots are all busy: no objective allows more."""
    prompt = traffic.template_tokens + traffic.chars * traffic.prompt_tokens_per_char
    new = 1 + traffic.chars * traffic.new_tokens_per_char
    step = profile.step_seconds(profile.slots, prompt + new / 2)
    extra = prompt * profile.prefill_seconds_per_token + profile.request_overhead_seconds
    return 1 / (new * step / profile.slots + extra)


def max_search_rate(profile: PredictorProfile, traffic: Traffic) -> float:
    """Requests per second that no pod's capacity comes to: where the search for it begins."""
    return max_throughput(profile, traffic) * ABOVE_MOST


def overhead_seconds(profile: PredictorProfile) -> float:
    """What comes on top of the predictor: the transformer's work on a miss and the way there."""
    service = Scenario("", (PredictorService("", fixed_scaling(1, 0), profile),))
    return service.overhead_s + TransformerModel().miss_seconds


def keeps_objective(profile: PredictorProfile, request: PlanRequest, rate: float) -> bool:
    """Whether one pod keeps the objective at so many misses per second. One simulation."""
    objective = request.slo.p99_s - overhead_seconds(profile)
    if objective <= 0:
        return False
    latency_s = percentile(_alone(profile, request, rate, objective), request.workload.miss_percentile)
    return latency_s is not None and latency_s <= objective


def min_search_rate(profile: PredictorProfile, traffic: Traffic) -> float:
    """The lowest rate that a capacity is looked for at."""
    return max_search_rate(profile, traffic) / 2.0**HALVINGS


def pod_capacity(profile: PredictorProfile, request: PlanRequest) -> PodCapacity:
    """The highest rate of misses at which one pod keeps the objective.

    The objective is less what comes on top of the predictor: the transformer's work and the way there.
    """
    overhead = overhead_seconds(profile)
    objective = request.slo.p99_s - overhead
    alone = alone_seconds(profile, request.workload.traffic) + overhead
    low, high = 0.0, max_search_rate(profile, request.workload.traffic)
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        if keeps_objective(profile, request, rate):
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
    profile: PredictorProfile, request: PlanRequest, *, replicas: int, transformers: int
) -> SimulationResult:
    """The service as planned, all its pods, under the whole load."""
    seconds = max(SECONDS, REQUESTS / request.workload.qps)
    service = Scenario(
        "planned",
        (PredictorService("predictor", fixed_scaling(replicas, profile.slots), profile),),
        TransformerService(fixed_scaling(transformers, 0)),
        traffic=request.workload.traffic,
        cache=CacheModel(kind="rate", rate=request.workload.hit_rate),
        timeout_s=request.slo.p99_s * PATIENCE,
        slo_s=request.slo.p99_s,
        seed=request.seed,
    )
    return simulate(
        service, generate_arrivals(f"poisson:rate={request.workload.qps},seconds={seconds}", request.seed)
    )


def service_p99(result: SimulationResult) -> float | None:
    """P99 of all requests, those that failed counted as never answered; None if more than 1 % did."""
    latencies = np.where(result.answered(), result.caller_latencies(), np.inf)
    value = float(np.percentile(latencies, 99, method="higher"))
    return value if math.isfinite(value) else None


def _alone(profile: PredictorProfile, request: PlanRequest, rate: float, objective: float) -> Floats:
    """Latencies of one pod without a limit of its own; what fails counts as late as can be."""
    seconds = max(SECONDS, REQUESTS / rate)
    service = Scenario(
        "one pod",
        (PredictorService("pod", fixed_scaling(1, 0), profile),),
        traffic=request.workload.traffic,
        timeout_s=objective * PATIENCE,
        slo_s=objective,
        overhead_s=0.0,
        seed=request.seed,
    )
    result = simulate(service, generate_arrivals(f"poisson:rate={rate},seconds={seconds}", request.seed))
    return np.where(result.statuses == Status.OK, result.latencies, service.timeout_s)
