"""The simulation of a measured load, and what of it is compared."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.cluster.loads import ClusterLoad
from benchmarks.cluster.records import ClusterSetting, MeasuredLoad
from benchmarks.cluster.series import StepSeries
from benchmarks.prediction.report import Figures, figures
from benchmarks.prediction.texts import Texts
from knative.autoscaler.annotations import RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.simulator.cluster.deployment import ColdStart
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.load.trace import Trace
from knative.simulator.load.workload import Traffic
from knative.simulator.result import SimulationResult
from knative.simulator.scenarios.scenario import PredictorService, Scenario, TransformerService
from knative.simulator.simulation import simulate

PATIENCE_S = 30.0
TICK_S = 2.0
WINDOW_S = 5.0
"""Of the latencies and requests in flight in the plots."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Course:
    """One load as it went, measured or simulated."""

    figures: Figures
    desired: StepSeries
    ready: StepSeries
    in_flight: tuple[tuple[float, float], ...]
    """Times, and sequences that decode or wait then."""
    arrivals: Floats
    latencies: Floats
    """[N] seconds; NaN where a request failed."""

    def windows(self, seconds: float) -> tuple[Floats, Floats, Floats]:
        """Middles of windows, mean sequences in flight, and the 99th percentile of latency by time of arrival.

        Args:
            seconds: that the windows cover.
        """
        edges = np.arange(0.0, seconds + WINDOW_S / 2, WINDOW_S)
        times, counts = np.array(self.in_flight).reshape(-1, 2).T
        flight, slow = [], []
        for low, high in itertools.pairwise(edges.tolist()):
            flight.append(_mean(counts[(times >= low) & (times < high)]))
            inside = self.latencies[(self.arrivals >= low) & (self.arrivals < high)]
            inside = inside[~np.isnan(inside)]
            slow.append(float(np.percentile(inside, 99)) if len(inside) else np.nan)
        return edges[:-1] + WINDOW_S / 2, np.array(flight), np.array(slow)


@dataclass(frozen=True, slots=True)
class ReplicaAgreement:
    """How many decisions of the simulated autoscaler agree with the real one's, but for those just after a step."""

    decisions: int
    desired_within_one: int
    ready_within_one: int


def measured_course(measured: MeasuredLoad) -> Course:
    """The course of a load on the cluster."""
    latencies = np.array([np.nan if each < 0 else each for each in measured.latencies])
    answered = latencies[~np.isnan(latencies)].tolist()
    return Course(
        figures(answered, len(latencies) - len(answered), measured.seconds),
        measured.desired,
        measured.ready,
        tuple((time, decoding + waiting) for time, decoding, waiting in measured.samples),
        generate_arrivals(measured.load.arrivals, measured.seed).times,
        latencies,
    )


def simulated_course(setting: ClusterSetting, measured: MeasuredLoad, texts: Texts) -> Course:
    """The course of the same load in the simulation."""
    trace = texts.lengths_of(generate_arrivals(measured.load.arrivals, measured.seed), measured.load.texts)
    result = simulate(scenario(setting, measured), trace)
    answered, latencies = result.answered(), result.caller_latencies()
    last = float((trace.times + latencies).max())
    return Course(
        figures(latencies[answered].tolist(), int((~answered).sum()), last),
        _series(result, "desired"),
        _series(result, "ready"),
        tuple((snapshot.time, float(snapshot.in_flight)) for snapshot in result.snapshots),
        trace.times,
        np.where(answered, latencies, np.nan),
    )


def scenario(setting: ClusterSetting, measured: MeasuredLoad) -> Scenario:
    """The scenario of a load: the manifest's scaling, what was learned, and the machine as it was meanwhile."""
    config, known = AutoscalerConfig.from_data(setting.autoscaler), setting.known
    start = ColdStart(schedule_seconds=setting.start_s)
    return Scenario(
        measured.load.name,
        (
            PredictorService(
                "predictor",
                _scaling(setting, "predictor", config),
                known.profile,
                cold_start=start,
                initial_pods=1,
            ),
        ),
        TransformerService(_scaling(setting, "transformer", config), known.transformer, initial_pods=1),
        traffic=Traffic(texts_per_request=measured.load.texts),
        node=dataclasses.replace(known.node, speeds=measured.speeds, others=measured.others),
        autoscaler=config,
        overhead_s=known.overhead_s,
        timeout_s=PATIENCE_S,
    )


def agreement(load: ClusterLoad, real: Course, simulated: Course) -> ReplicaAgreement:
    """Compare replicas at every decision, but the first two after a step."""
    ticks = [tick for tick in np.arange(TICK_S, load.seconds, TICK_S).tolist() if not load.is_edge(tick)]
    return ReplicaAgreement(len(ticks), *(
        sum(abs(one.at(tick) - other.at(tick)) <= 1 for tick in ticks)
        for one, other in ((real.desired, simulated.desired), (real.ready, simulated.ready))
    ))  # fmt: skip


def trace_of(load: ClusterLoad, seed: int, texts: Texts) -> Trace:
    """Arrivals and lengths of a load."""
    return texts.lengths_of(generate_arrivals(load.arrivals, seed), load.texts)


def _scaling(setting: ClusterSetting, component: str, config: AutoscalerConfig) -> RevisionScaling:
    annotations, concurrency = setting.components[component]
    return revision_scaling(annotations, concurrency, config)


def _series(result: SimulationResult, name: str) -> StepSeries:
    return StepSeries(tuple((snapshot.time, getattr(snapshot, name)) for snapshot in result.snapshots))


def _mean(values: Sequence[float] | Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
