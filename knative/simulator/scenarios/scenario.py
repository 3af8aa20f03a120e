"""A scenario as frozen values: services, traffic and cluster. ``scenario_file`` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

from knative.autoscaler.annotations import RevisionScaling
from knative.autoscaler.config import AutoscalerConfig
from knative.profiling.profile import PredictorProfile
from knative.simulator.cluster.deployment import ColdStart
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.engine.other_processes import BusyCores
from knative.simulator.engine.processors import CoreSpeeds
from knative.simulator.errors import SimulationError
from knative.simulator.load.workload import CacheModel, Traffic

QUEUE_TOKENS = 131_072
"""As ``YIWEN_QUEUE_TOKENS``."""


@dataclass(frozen=True, slots=True)
class PredictorService:
    """One revision of the predictor."""

    name: str
    scaling: RevisionScaling
    profile: PredictorProfile
    share: float = 1.0
    """Of the requests; below 1 for a canary and its stable revision."""
    slots: int = 0
    """Sequences that decode together, as ``YIWEN_SLOTS``; 0: the profile's."""
    queue_tokens: int = QUEUE_TOKENS
    cold_start: ColdStart = field(default_factory=ColdStart)
    initial_pods: int | None = None
    """Pods that are ready at the start; None: the fewest that the manifest allows."""

    def __post_init__(self) -> None:
        """Check the numbers (SimulationError)."""
        if not 0 <= self.slots <= self.profile.slots:
            raise SimulationError(
                f"{self.name}: {self.slots} slots are more than the {self.profile.slots} of the profile "
                f"{self.profile.name}: lower slots, or measure more"
            )
        if not 0 < self.share <= 1:
            raise SimulationError(f"{self.name}: share must be above 0 and at most 1")
        if self.queue_tokens < 1:
            raise SimulationError(f"{self.name}: queue_tokens must be at least 1")


@dataclass(frozen=True, slots=True)
class TransformerService:
    """The transformer service."""

    scaling: RevisionScaling
    model: TransformerModel = field(default_factory=TransformerModel)
    cold_start: ColdStart = field(default_factory=lambda: ColdStart(drain_seconds=0.0))
    initial_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine whose cores all pods share. Each predictor decodes in one thread."""

    cores: int
    slice_seconds: float = 0.004
    """Time slice of a thread while others wait: a tick of Linux with CONFIG_HZ=250."""
    hop_seconds: float = 0.0
    """CPU time of a proxy per request and hop, both ways: caller to transformer, transformer to predictor."""
    speeds: CoreSpeeds = field(default_factory=CoreSpeeds)
    """Speed of the cores over time, relative to the machine of the profile."""
    others: BusyCores = field(default_factory=BusyCores)
    """Cores that other processes of the machine keep busy over time, such as Kubernetes' own."""

    def __post_init__(self) -> None:
        """Check the numbers (SimulationError)."""
        rules = (
            (self.cores >= 1, "cores must be at least 1"),
            (self.slice_seconds > 0, "slice_seconds must be above 0"),
            (self.hop_seconds >= 0, "hop_seconds must not be negative"),
            (all(speed > 0 for speed in self.speeds.values), "speeds must be above 0"),
            (all(busy >= 0 for busy in self.others.values), "others must not be negative"),
        )
        for holds, rule in rules:
            if not holds:
                raise SimulationError(f"node: {rule}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """All inputs of a simulation except the trace."""

    name: str
    predictors: tuple[PredictorService, ...]
    """One, or two for a canary; their shares add up to 1."""
    transformer: TransformerService | None = None
    """None: requests go straight to the predictor, and there is no cache."""
    traffic: Traffic = field(default_factory=Traffic)
    cache: CacheModel = field(default_factory=CacheModel)
    node: Node | None = None
    """Machine that all pods share; None: every thread has a dedicated core."""
    autoscaler: AutoscalerConfig = field(default_factory=AutoscalerConfig)
    timeout_s: float = 30.0
    """Timeout of the callers."""
    overhead_s: float = 0.004
    """Seconds that ingress, activators and queue-proxies add to an answer, both ways: an assumption."""
    slices: int | None = None
    """Number of slices (or whole GPUs) for predictors; None: no limit."""
    price_per_slice_hour: float = 0.0
    """In any currency."""
    slo_s: float = 0.8
    """Latency objective; goodput counts the answers within it."""
    pod_failures: tuple[float, ...] = ()
    """Times at which a predictor pod dies, seconds."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers (SimulationError)."""
        shares = sum(predictor.share for predictor in self.predictors)
        rules = (
            (bool(self.predictors), "there must be a predictor"),
            (abs(shares - 1) < 1e-6, f"the predictors' shares come to {shares:g}, they must come to 1"),
            (self.timeout_s > 0, "timeout_s must be above 0"),
            (self.overhead_s >= 0, "overhead_s must not be negative"),
            (self.slices is None or self.slices >= 1, "slices must be at least 1"),
            (self.price_per_slice_hour >= 0, "price_per_slice_hour must not be negative"),
            (self.slo_s > 0, "slo_s must be above 0"),
            (all(time >= 0 for time in self.pod_failures), "pod_failures must be times of at least 0"),
            (
                self.transformer is not None or self.cache.kind == "none",
                "a cache needs a transformer: add one to the manifest, or take the cache out",
            ),
        )
        for holds, rule in rules:
            if not holds:
                raise SimulationError(f"{self.name}: {rule}")

    @property
    def max_sequence_tokens(self) -> int:
        """Most tokens of prompt and answer that every predictor accepts."""
        return min(predictor.profile.max_sequence_tokens for predictor in self.predictors)
