"""What was measured, as one JSON document: all that the simulation needs, and all that it is compared with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmarks.cluster.loads import ClusterLoad
from benchmarks.cluster.series import StepSeries
from benchmarks.prediction.learning import Known
from knative.profiling.profile import read_profile
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.engine.other_processes import BusyCores
from knative.simulator.engine.processors import CoreSpeeds
from knative.simulator.scenarios.scenario import Node


@dataclass(frozen=True, slots=True)
class ClusterSetting:
    """What holds for all loads."""

    known: Known
    start_s: float
    """Mean seconds from the decision for a predictor to its readiness."""
    autoscaler: dict[str, str]
    """The data of ``config-autoscaler``."""
    components: dict[str, tuple[dict[str, str], int]]
    """Annotations and containerConcurrency of predictor and transformer."""

    def to_json(self) -> dict[str, Any]:
        """The form that :func:`setting_from_json` reads."""
        known = {field.name: getattr(self.known, field.name) for field in dataclasses.fields(self.known)}
        known |= {
            "profile": self.known.profile.to_json(),
            "transformer": dataclasses.asdict(self.known.transformer),
            "node": {"cores": self.known.node.cores, "hop_seconds": self.known.node.hop_seconds},
        }
        return {
            "known": known,
            "start_s": self.start_s,
            "autoscaler": self.autoscaler,
            "components": self.components,
        }


def setting_from_json(document: dict[str, Any]) -> ClusterSetting:
    """The setting that :meth:`ClusterSetting.to_json` wrote."""
    known = document["known"] | {
        "profile": read_profile(document["known"]["profile"], "the profile"),
        "transformer": TransformerModel(**document["known"]["transformer"]),
        "node": Node(**document["known"]["node"]),
    }
    components = {name: (dict(each[0]), int(each[1])) for name, each in document["components"].items()}
    return ClusterSetting(Known(**known), document["start_s"], document["autoscaler"], components)


@dataclass(frozen=True, slots=True)
class MeasuredLoad:
    """One load on the cluster. Times are seconds from its start."""

    load: ClusterLoad
    seed: int
    """Of its arrivals."""
    latencies: tuple[float, ...]
    """By request, seconds from its planned start; -1 where it failed."""
    seconds: float
    """From the first request to the last answer."""
    desired: StepSeries
    """Predictors that the autoscaler desired."""
    ready: StepSeries
    samples: tuple[tuple[float, int, int], ...]
    """Time, sequences that decode, and sequences that wait."""
    speeds: CoreSpeeds
    others: BusyCores
    kinds: tuple[dict[str, float], ...]
    """Busy cores by kind of process, by second."""

    def to_json(self) -> dict[str, Any]:
        """The form that :func:`load_from_json` reads."""
        return {
            "load": dataclasses.asdict(self.load),
            "seed": self.seed,
            "latencies": [round(each, 4) for each in self.latencies],
            "seconds": round(self.seconds, 3),
            "desired": self.desired.points,
            "ready": self.ready.points,
            "samples": self.samples,
            "speeds": [round(value, 3) for value in self.speeds.values],
            "speed_s": self.speeds.seconds,
            "others": [round(value, 3) for value in self.others.values],
            "others_s": self.others.seconds,
            "kinds": [{name: round(value, 3) for name, value in each.items()} for each in self.kinds],
        }


def load_from_json(document: dict[str, Any]) -> MeasuredLoad:
    """The load that :meth:`MeasuredLoad.to_json` wrote."""
    load = document["load"]
    return MeasuredLoad(
        ClusterLoad(**{**load, "edges": tuple(load["edges"])}),
        document["seed"],
        tuple(document["latencies"]),
        document["seconds"],
        _series(document["desired"]),
        _series(document["ready"]),
        tuple((time, decoding, waiting) for time, decoding, waiting in document["samples"]),
        CoreSpeeds(tuple(document["speeds"]), document["speed_s"]),
        BusyCores(tuple(document["others"]), document["others_s"]),
        tuple(document["kinds"]),
    )


def _series(points: list[list[float]]) -> StepSeries:
    return StepSeries(tuple((time, int(value)) for time, value in points))
