"""`python -m benchmarks.prediction --release DIR`: compares predicted and measured latencies on this machine.

The service is a real transformer, a round-robin proxy and 1, 2 or 3 real predictors with one thread each, under
open-loop load at three rates, with a step, and in batches of titles. The simulator gets the same arrivals and
lengths. It also gets the processor time of every operation, measured just before, and the cores' speed over time,
which other users of the machine affect; a CPU probe measures it during each load. In the simulation all processes,
also load generator and proxy, share this machine's cores.

Rates are fractions of the throughput with as many callers as slots. Each load is repeated several times with other
arrivals; the figures are of all repetitions together.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.engine.__main__ import machine
from benchmarks.prediction.cpu_probe import running_cpu_probe
from benchmarks.prediction.learning import Known, learn
from benchmarks.prediction.report import Figures, figures, markdown
from benchmarks.prediction.stack import Stack, running
from benchmarks.prediction.texts import Texts, encode_titles
from benchmarks.transformer_stages.job import LoadJob, LoadRequest
from benchmarks.transformer_stages.processes import run_load
from knative.planner.capacity import fixed_scaling
from knative.simulator.engine.processors import CoreSpeeds
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.load.trace import Trace
from knative.simulator.load.workload import Traffic
from knative.simulator.scenarios.scenario import PredictorService, Scenario, TransformerService
from knative.simulator.simulation import simulate

TEXTS = 4000
BATCH = 16
"""Titles of a request in the batch load."""
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Try:
    """Results of one load or of its simulation."""

    latencies: list[float]
    """Latencies of the answers, seconds from the planned start of each request."""
    failed: int
    seconds: float
    """Seconds from the first request to the last answer."""


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """State of the machine during a load."""

    speeds: CoreSpeeds
    """Speed of its cores, relative to when the service was measured."""
    others_busy_cores: float
    """Cores used by processes outside of the measurement."""


def main() -> int:
    """Measure, simulate, print a table, write JSON."""
    options = _options()
    texts = encode_titles(options.release, TEXTS)
    rows: list[dict[str, Any]] = []
    for count in options.predictors:
        with running(options.release, count) as stack:
            known = learn(
                stack,
                texts,
                options.release,
                rounds=options.rounds,
                seconds=options.learn_seconds,
            )
            print(f"{count} predictors: {known}", file=sys.stderr, flush=True)
            for load in loads(known.most_per_s, options.seconds):
                row = {"predictors": count, "load": str(load)}
                rows.append(row | compare(stack, known, load, texts, options))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(markdown(rows))
    if options.out:
        document = {"machine": machine(), "rows": rows}
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of equal numbers of texts."""

    arrivals: str
    """In the simulator's notation."""
    texts: int = 1
    """Of each request."""

    def __str__(self) -> str:
        return self.arrivals if self.texts == 1 else f"{self.arrivals} x {self.texts} texts"


def loads(most_per_s: float, seconds: float) -> list[Load]:
    """The loads: three rates, a step, and batches."""
    rates = [f"poisson:rate={most_per_s * share:.3g},seconds={seconds:g}" for share in (0.3, 0.5, 0.7)]
    low, high = most_per_s * 0.2, most_per_s * 0.65
    step = f"step:from={low:.3g},to={high:.3g},at={seconds / 2:g},seconds={seconds:g}"
    batches = f"poisson:rate={most_per_s * 0.5 / BATCH:.3g},seconds={seconds:g}"
    return [*map(Load, (*rates, step)), Load(batches, BATCH)]


def compare(
    stack: Stack, known: Known, load: Load, texts: Texts, options: argparse.Namespace
) -> dict[str, Any]:
    """Run a load several times, each with its simulation."""
    real, predicted, host_load = [], [], []
    for seed in range(1, options.tries + 1):
        trace = texts.lengths_of(generate_arrivals(load.arrivals, seed), load.texts)
        requests = texts.requests(stack.transformer.infer, len(trace), load.texts)
        measured, meanwhile = measure(stack, known, trace, requests, options.release)
        real.append(measured)
        predicted.append(predict(known, meanwhile.speeds, trace, load.texts, len(stack.predictors)))
        host_load.append(meanwhile)
    return {
        "real": dataclasses.asdict(_together(real)),
        "predicted": dataclasses.asdict(_together(predicted)),
        "speeds": [round(fmean(each.speeds.values), 2) for each in host_load],
        "others_busy_cores": round(fmean(each.others_busy_cores for each in host_load), 2),
    }


def measure(
    stack: Stack, known: Known, trace: Trace, requests: tuple[LoadRequest, ...], release: Path
) -> tuple[Try, Meanwhile]:
    """Measure the service under a load, and the machine meanwhile."""
    before = stack.spent().total_s
    with running_cpu_probe(release) as readings:
        outcome = run_load(LoadJob(requests, at_s=tuple(trace.times.tolist()), patience_s=PATIENCE_S))
    own_s = stack.spent().total_s - before + outcome.cpu_s
    began, ended = outcome.began_s, outcome.began_s + outcome.wall_s
    inside = readings.between(began, ended)
    own_cores = (own_s + sum(sample.work_s for sample in inside.samples)) / outcome.wall_s
    meanwhile = Meanwhile(readings.speeds(began, ended, known.work_s), inside.busy_cores - own_cores)
    answered = [sample.latency_s for sample in outcome.samples if sample.status == 200]
    return Try(answered, len(outcome.samples) - len(answered), outcome.wall_s), meanwhile


def predict(known: Known, speeds: CoreSpeeds, trace: Trace, texts: int, predictors: int) -> Try:
    """Simulate a load of requests with ``texts`` texts each; those to the predictors go to them in turn."""
    scaling = dataclasses.replace(fixed_scaling(predictors, 0), target_burst_capacity=0.0)
    front = dataclasses.replace(fixed_scaling(1, 0), target_burst_capacity=0.0)
    outcome = simulate(
        Scenario(
            "predicted",
            (PredictorService("predictor", scaling, known.profile),),
            TransformerService(front, known.transformer),
            traffic=Traffic(texts_per_request=texts),
            node=dataclasses.replace(known.node, speeds=speeds),
            overhead_s=known.overhead_s,
            timeout_s=PATIENCE_S,
        ),
        trace,
    )
    answered, latencies = outcome.answered(), outcome.caller_latencies()
    return Try(latencies[answered].tolist(), int((~answered).sum()), float((trace.times + latencies).max()))


def _together(tries: Sequence[Try]) -> Figures:
    latencies = [latency for each in tries for latency in each.latencies]
    return figures(latencies, sum(each.failed for each in tries), sum(each.seconds for each in tries))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--release", type=Path, required=True, metavar="DIR", help="the demo release")
    add("--predictors", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    add("--seconds", type=float, default=20.0, help="of each load")
    add("--tries", type=int, default=3, help="of each load")
    add("--learn-seconds", type=float, default=1.5, help="of each measurement in a round of learning")
    add("--rounds", type=int, default=4, help="of learning")
    add("--out", type=Path, metavar="FILE", help="JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
