"""The planner's input and output as frozen values: workload, SLO, candidates, options and the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import MEASURED
from knative.planner.hardware.gpus import GpuModel, GpuSlice
from knative.planner.hardware.host import HostNode, PodRequest
from knative.profiling.profile import PredictorProfile
from knative.simulator.load.workload import Traffic


@dataclass(frozen=True, slots=True)
class ServiceWorkload:
    """The load of the service."""

    qps: float
    """Requests per second, hits included."""
    hit_rate: float = 0.0
    """Share of texts that the cache answers."""
    traffic: Traffic = field(default_factory=Traffic)
    """Lengths of the texts."""

    def __post_init__(self) -> None:
        """Check the numbers (PlanError)."""
        if not 0 < self.qps < math.inf:
            raise PlanError("qps must be a number above 0")
        if not 0 <= self.hit_rate < 1:
            raise PlanError("hit rate must be at least 0 and below 1: without misses nothing is to plan")

    @property
    def misses_per_s(self) -> float:
        """Requests per second with texts that the cache lacks."""
        return self.qps * self.traffic.share_with_misses(self.hit_rate)

    @property
    def text_misses_per_s(self) -> float:
        """Texts per second that the cache lacks: requests to the predictor."""
        return self.qps * self.traffic.mean_texts * (1 - self.hit_rate)

    @property
    def miss_percentile(self) -> float:
        """Percentile of the misses' latency that is the P99 of all requests: hits take next to no time."""
        return max(0.0, 100 * (1 - 0.01 / self.traffic.share_with_misses(self.hit_rate)))


@dataclass(frozen=True, slots=True)
class SLO:
    """The service level objective."""

    p99_s: float
    """Seconds within which 99 % of all requests are answered, hits included."""

    def __post_init__(self) -> None:
        """Check the number (PlanError)."""
        if not 0 < self.p99_s < math.inf:
            raise PlanError("p99 must be a number of ms above 0")


@dataclass(frozen=True, slots=True)
class CapacityRequest:
    """Input of the planner: a workload, its SLO, and the limits of the plan."""

    workload: ServiceWorkload
    slo: SLO
    max_sequence_tokens: int = 512
    """Tokens of a slot: longest prompt and answer together."""
    target_utilization: float = 0.8
    """Share of a pod's capacity to plan with; the rest is for bursts and failed pods."""
    max_gpus: int | None = None
    """GPUs that may be taken; None: any number."""
    seed: int = 0
    """Of the simulations."""

    def __post_init__(self) -> None:
        """Check the limits (PlanError)."""
        rules = (
            (self.max_sequence_tokens >= 16, "tokens of a slot must be at least 16"),
            (0 < self.target_utilization <= 1, "load must be above 0 and at most 1"),
            (self.max_gpus is None or self.max_gpus >= 1, "GPUs must be at least 1"),
            (self.seed >= 0, "seed must be at least 0"),
        )
        for holds, rule in rules:
            if not holds:
                raise PlanError(rule)

    def with_p99(self, p99_s: float) -> CapacityRequest:
        """The same with another objective, seconds."""
        return replace(self, slo=SLO(p99_s))

    def with_qps(self, qps: float) -> CapacityRequest:
        """The same with another load, requests per second."""
        return replace(self, workload=replace(self.workload, qps=qps))


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What is known of nodes, and what pods are to ask for."""

    node: HostNode | None = None
    """None: not checked."""
    pod_cpus: float | None = None
    """None: as the manifests have it."""
    pod_memory_bytes: float | None = None
    """None: weights and process."""


@dataclass(frozen=True, slots=True)
class PlanCandidate:
    """One way to serve: a slice and a precision, with the profile it has or would have."""

    gpu: GpuModel
    gpu_slice: GpuSlice
    precision: str
    profile: PredictorProfile | None
    """None if not one slot fits."""
    weight_bytes: int
    kv_bytes_per_token: int
    slice_bytes: int
    slots: int
    host: PodRequest
    """What a pod asks of its node."""
    pods_per_gpu: float
    """Pods for each GPU of a node; less than its slices where CPUs or memory run out first; 0: no pod fits."""

    def gpus_for(self, pods: int) -> int:
        """GPUs that so many pods need, on nodes where they find CPUs and memory too."""
        return math.ceil(pods / self.pods_per_gpu)

    @property
    def kind(self) -> str:
        """Where the profile is from: measured, derived from one of the same GPU, or estimated for another GPU."""
        if self.profile is None:
            return "-"
        return (
            "estimated" if self.profile.kind == "derived" and not self.is_measured_gpu else self.profile.kind
        )

    @property
    def is_measured_gpu(self) -> bool:
        """Whether Yiwen ever ran on this GPU."""
        return self.gpu.key in MEASURED

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.gpu.key} {self.gpu_slice.name} {self.precision}"


@dataclass(frozen=True, slots=True)
class PodCapacity:
    """Capacity of one pod within the SLO."""

    rate: float
    """Most requests with misses per second; 0: none."""
    mean_s: float
    """Mean latency of a text at the planned load."""
    light_s: float
    """Mean latency of a text when as many pods as may be share that load."""
    alone_s: float
    """Latency of a long text (99 of 100 are shorter) when nothing else runs, the transformer and the way there
    included: no load can go below it."""


@dataclass(frozen=True, slots=True)
class PlanOption:
    """A candidate, judged as far as was needed."""

    candidate: PlanCandidate
    reason: str
    """Why it cannot, or why it is not the first; empty for the first."""
    capacity: PodCapacity | None = None
    replicas: int = 0
    gpus: int = 0
    cost: float = 0.0
    """Per hour; if it was not judged, the least that it can be."""
    replicas_band: tuple[int, int] | None = None
    """Fewest and most replicas if the profile is off by as much as it may be."""
    p99_s: float | None = None
    """Of the whole service with so many replicas, simulated; None where that was not done."""
    judged: bool = True
    """False where others are cheaper than it can be: it was not simulated, ``gpus`` and ``cost`` are bounds."""

    @property
    def feasible(self) -> bool:
        """Whether it meets the objective."""
        return self.replicas > 0


@dataclass(frozen=True, slots=True)
class Sizing:
    """Resources of the rest of the deployment."""

    container_concurrency: int
    scale_target: int
    min_replicas: int
    max_replicas: int
    transformer_replicas: int
    transformer_max_replicas: int
    volume_bytes: int
    """Of the PVC: two releases with one plan each, so that a canary finds its own."""
    cache_entry_bytes: int
    """Of one translation in Redis, keys and overhead included."""
    cache_bytes_per_hour: int
    """Growth of the cache per hour of misses."""


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """Every option, the best first, and what goes with the best."""

    request: CapacityRequest
    options: tuple[PlanOption, ...]
    sizes: Sizing | None
    """None if nothing is feasible."""
    binding: str = ""
    """If nothing is feasible: what stands in the way."""
    nearest: CapacityRequest | None = None
    """If nothing is feasible: the closest request that is; its options are ``nearest_options``."""
    nearest_options: tuple[PlanOption, ...] = ()
