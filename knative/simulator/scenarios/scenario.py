"""What is simulated, as frozen values: services, traffic, cluster. ``scenario_file`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from knative.autoscaler.annotations import RevisionScaling
from knative.autoscaler.config import AutoscalerConfig
from knative.profiling.profile import PredictorProfile
from knative.simulator.cluster.deployment import ColdStart
from knative.simulator.cluster.pods import TransformerModel
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
    """Of the requests: below 1 for a canary and what it is to replace."""
    slots: int = 0
    """Sequences that decode together, as ``YIWEN_SLOTS``; 0: the profile's."""
    queue_tokens: int = QUEUE_TOKENS
    cold_start: ColdStart = field(default_factory=ColdStart)
    initial_pods: int | None = None
    """Pods that are ready at the start; None: as many as the fewest the manifest allows."""

    def __post_init__(self) -> None:
        """Refuse what cannot run (SimulationError)."""
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
    """The transformer."""

    scaling: RevisionScaling
    model: TransformerModel = field(default_factory=TransformerModel)
    cold_start: ColdStart = field(default_factory=lambda: ColdStart(drain_seconds=0.0))
    initial_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine whose cores all pods share, and what else runs there. Predictors decode on one core each."""

    cores: int
    slice_seconds: float = 0.004
    """How long a thread keeps its core while others wait: a tick of Linux with CONFIG_HZ=250."""
    hop_seconds: float = 0.0
    """CPU time that a hop costs a proxy there, both ways: caller to transformer, transformer to predictor."""
    speeds: CoreSpeeds = field(default_factory=CoreSpeeds)
    """Of the cores over time, 1 being that of whatever the profile was measured on."""

    def __post_init__(self) -> None:
        """Refuse what is no machine (SimulationError)."""
        rules = (
            (self.cores >= 1, "cores must be at least 1"),
            (self.slice_seconds > 0, "slice_seconds must be above 0"),
            (self.hop_seconds >= 0, "hop_seconds must not be negative"),
            (all(speed > 0 for speed in self.speeds.values), "speeds must be above 0"),
        )
        for holds, rule in rules:
            if not holds:
                raise SimulationError(f"node: {rule}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that decides a simulation, but the trace."""

    name: str
    predictors: tuple[PredictorService, ...]
    """One, or two for a canary; their shares come to 1."""
    transformer: TransformerService | None = None
    """None: requests go straight to the predictor, and there is no cache."""
    traffic: Traffic = field(default_factory=Traffic)
    cache: CacheModel = field(default_factory=CacheModel)
    node: Node | None = None
    """What all pods run on; None: every thread has a core of its own."""
    autoscaler: AutoscalerConfig = field(default_factory=AutoscalerConfig)
    timeout_s: float = 30.0
    """Seconds that a caller waits."""
    overhead_s: float = 0.004
    """Seconds that ingress, activators and queue-proxies add to an answer, both ways: an assumption."""
    slices: int | None = None
    """Slices (or whole GPUs) that there are for predictors; None: no bound."""
    price_per_slice_hour: float = 0.0
    """In whatever currency."""
    slo_s: float = 0.8
    """An answer in time: goodput counts these."""
    pod_failures: tuple[float, ...] = ()
    """Seconds at which a predictor's pod dies."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated (SimulationError)."""
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
        """Longest prompt and answer that every predictor takes."""
        return min(predictor.profile.max_sequence_tokens for predictor in self.predictors)
