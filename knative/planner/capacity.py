"""Capacity of one pod within an SLO, found by simulating it at different rates."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from knative.autoscaler.annotations import GROUP, RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.planner.request import CapacityRequest, PodCapacity, ServiceWorkload
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
MIN_REQUESTS = 400
"""The same where requests have many texts, each of which is simulated."""
UNBOUNDED = 1 << 30
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


def max_throughput(profile: PredictorProfile, workload: ServiceWorkload) -> float:
    """Requests with misses per second of a pod whose slots are all busy: the most under any SLO."""
    traffic = workload.traffic
    prompt = traffic.template_tokens + traffic.chars * traffic.prompt_tokens_per_char
    new = 1 + traffic.chars * traffic.new_tokens_per_char
    step = profile.step_seconds(profile.slots, prompt + new / 2)
    extra = prompt * profile.prefill_seconds_per_token + profile.request_overhead_seconds
    texts = workload.text_misses_per_s / workload.misses_per_s
    return 1 / (new * step / profile.slots + extra) / texts


def max_search_rate(profile: PredictorProfile, workload: ServiceWorkload) -> float:
    """Upper end of the search for a pod's capacity, requests with misses per second."""
    return max_throughput(profile, workload) * SEARCH_MARGIN


def overhead_seconds(profile: PredictorProfile) -> float:
    """Seconds of a miss outside of the predictor: the transformer's work and the network."""
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
    latencies = _miss_latencies(_alone(profile, request, rate, objective))
    latency_s = percentile(latencies, request.workload.miss_percentile)
    return latency_s is not None and latency_s <= objective


def min_search_rate(profile: PredictorProfile, workload: ServiceWorkload) -> float:
    """Lower end of the search for a pod's capacity, requests with misses per second."""
    return max_search_rate(profile, workload) / 2.0**HALVINGS


def pod_capacity(profile: PredictorProfile, request: CapacityRequest) -> PodCapacity:
    """The highest rate of misses at which one pod meets the SLO, less the time outside of the predictor."""
    overhead = overhead_seconds(profile)
    objective = request.slo.p99_s - overhead
    alone = alone_seconds(profile, request.workload.traffic) + overhead
    low, high = 0.0, max_search_rate(profile, request.workload)
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        if meets_slo(profile, request, rate):
            low = rate
        else:
            high = rate
    if not low:
        return PodCapacity(0.0, 0.0, 0.0, alone)
    planned, light = (
        _mean_text_s(_alone(profile, request, low * request.target_utilization / burst, objective))
        for burst in (1.0, BURST)
    )
    return PodCapacity(low, planned, light, alone)


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
    seconds = max(SECONDS, _requests(request) / request.workload.qps)
    service = Scenario(
        "planned",
        (PredictorService("predictor", fixed_scaling(replicas, profile.slots), profile),),
        TransformerService(fixed_scaling(transformers, 0), _one_text_a_request(profile, TransformerModel())),
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


def _requests(request: CapacityRequest) -> int:
    """Fewest requests of a simulation."""
    return max(MIN_REQUESTS, round(REQUESTS / request.workload.traffic.mean_texts))


def _one_text_a_request(profile: PredictorProfile, model: TransformerModel) -> TransformerModel:
    """``model`` with groups as the manifests have them in Knative mode."""
    return replace(model, group_size=1, groups_in_flight=profile.slots + 1)


def _alone(
    profile: PredictorProfile, request: CapacityRequest, rate: float, objective: float
) -> SimulationResult:
    """One pod without a concurrency limit, under ``rate`` requests with misses per second."""
    workload, transformer, cache = request.workload, None, CacheModel()
    if workload.traffic.mean_texts > 1:  # a transformer that takes no time sends the texts one by one
        no_time = TransformerModel(0.0, 0.0, max_connections=UNBOUNDED)
        transformer = TransformerService(fixed_scaling(1, 0), _one_text_a_request(profile, no_time))
        cache = CacheModel(kind="rate", rate=workload.hit_rate)
        rate *= workload.qps / workload.misses_per_s
    seconds = max(SECONDS, _requests(request) / rate)
    service = Scenario(
        "one pod",
        (PredictorService("pod", fixed_scaling(1, 0), profile),),
        transformer,
        traffic=workload.traffic,
        cache=cache,
        timeout_s=objective * TIMEOUT_FACTOR,
        slo_s=objective,
        overhead_s=0.0,
        seed=request.seed,
    )
    return simulate(service, generate_arrivals(f"poisson:rate={rate},seconds={seconds}", request.seed))


def _miss_latencies(result: SimulationResult) -> Floats:
    """Latencies in seconds of the requests with misses; failed requests count as the timeout."""
    missed = result.statuses != Status.HIT
    answered = result.statuses[missed] == Status.OK
    return np.where(answered, result.latencies[missed], result.scenario.timeout_s)


def _mean_text_s(result: SimulationResult) -> float:
    """Mean seconds of a text in the predictor: with several texts a request, by Little's law."""
    scenario, seconds = result.scenario, result.workload.seconds
    if scenario.transformer is None:
        return float(_miss_latencies(result).mean())
    in_flight = np.mean([snapshot.in_flight for snapshot in result.snapshots if snapshot.time <= seconds])
    texts = len(result.workload) * scenario.traffic.mean_texts * (1 - scenario.cache.rate)
    return float(in_flight * seconds / texts)
