"""`python -m benchmarks.cluster --release DIR --out DIR`: compares simulation and a real cluster under changing load.

The cluster is that of KUBECONFIG, and its node must be this machine: processor time is read from /proc. The service
is the overlay laptop with one to four predictors of one thread each, in a namespace of its own, which is removed
again. What everything costs is measured first, through the ingress gateway; then come a step, bursts, a day in two
minutes, and batches.

The simulator gets the arrivals, the manifest's scaling, the measured costs, the cores' speed over time, and the cores
that all other processes, Kubernetes among them, kept busy. `--replay FILE` simulates again what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.cluster.deployment import (
    GROUPS_IN_FLIGHT,
    MOST_PODS,
    START_S,
    ServedOverlay,
    autoscaler_settings,
    deployed,
)
from benchmarks.cluster.loads import ClusterLoad, cluster_loads, warm_up
from benchmarks.cluster.observed import Observation, observing
from benchmarks.cluster.prediction import (
    PATIENCE_S,
    agreement,
    measured_course,
    simulated_course,
    trace_of,
)
from benchmarks.cluster.records import ClusterSetting, MeasuredLoad, load_from_json, setting_from_json
from benchmarks.cluster.report import Compared, draw, markdown
from benchmarks.cluster.series import start_seconds
from benchmarks.engine.__main__ import machine
from benchmarks.prediction.cpu_probe import running_cpu_probe
from benchmarks.prediction.learning import Known, learn
from benchmarks.prediction.texts import Texts, encode_titles
from benchmarks.transformer_stages.job import LoadJob
from benchmarks.transformer_stages.processes import run_load
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.manifests import read_components
from knative.simulator.engine.other_processes import BusyCores
from knative.simulator.errors import SimulationError
from knative.simulator.plot import check_drawable
from tests.cluster.features import Features, read_features
from tests.cluster.knative_configuration import configure_knative
from tests.cluster.kubectl import KubectlError, eventually

TEXTS = 4000
NEEDED = ("KServe", "Knative", "Knative ingress", "volumes")
RESULTS = "results.json"


def main() -> int:
    """Measure or replay; write results, table and plots."""
    options = _options()
    try:
        check_drawable(options.out / "step.png")
    except SimulationError as error:
        raise SystemExit(f"bench-cluster: {error}") from None
    texts = encode_titles(options.release, TEXTS)
    if options.replay:
        document = json.loads(options.replay.read_text(encoding="utf-8"))
    else:
        document = measure(usable_cluster(), texts, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / RESULTS).write_text(json.dumps(document) + "\n", encoding="utf-8")
    rows = compare(document, texts)
    table = markdown(rows)
    print(table)
    (options.out / "results.md").write_text(table + "\n", encoding="utf-8")
    for row in rows:
        draw(row, options.out / f"{row[0].name}.png")
    return 0


def usable_cluster() -> Features:
    """What the cluster has.

    Raises:
        SystemExit: there is none, or it lacks something; with code 2.
    """
    try:
        if not Path(os.environ.get("KUBECONFIG", "")).is_file():
            raise KubectlError("KUBECONFIG names no file: set it to the kubeconfig of a cluster")
        found = read_features()
    except KubectlError as error:
        print(f"bench-cluster: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if missing := [f"{name}: {found.missing[name]}" for name in NEEDED if name in found.missing]:
        print("bench-cluster: the cluster lacks " + "; ".join(missing), file=sys.stderr)
        raise SystemExit(2)
    return found


def measure(features: Features, texts: Texts, options: argparse.Namespace) -> dict[str, Any]:
    """Deploy, learn and load; returns the document of :data:`RESULTS`."""
    configure_knative()
    with (
        tempfile.TemporaryDirectory() as directory,
        deployed(features, Path(directory)) as full,
    ):
        # Predictors that run in turns take the caches from each other: a text costs one of four a third more than it
        # costs one alone. So all of them serve while costs are measured.
        _say(f"learning; {full.namespace}")
        service, release = full.service(), full.copy_release()
        learned = learn(service, texts, release, rounds=options.rounds, seconds=options.learn_seconds)
        _say(f"{MOST_PODS} predictors answer {learned.most_per_s:.0f} requests/s")
        wide = full.with_predictors(1, MOST_PODS)
        _, observation = run(wide, warm_up(learned.most_per_s), 0, learned, texts, release)
        starts = start_seconds(observation.desired(), observation.ready())
        setting = _setting(wide, learned, fmean(starts))
        _say(f"starts took {starts} s")
        loads = []
        for seed, load in enumerate(cluster_loads(learned.most_per_s, options.scale), start=1):
            eventually("one predictor", wide.has_settled, START_S)
            loads.append(run(wide, load, seed, learned, texts, release)[0])
            _say(f"{load.name} {load.arrivals}")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": features.versions,
        "setting": setting.to_json(),
        "loads": [each.to_json() for each in loads],
    }


def run(
    deployment: ServedOverlay,
    load: ClusterLoad,
    seed: int,
    known: Known,
    texts: Texts,
    release: Path,
) -> tuple[MeasuredLoad, Observation]:
    """Run one load.

    Args:
        deployment: that has settled.
        load: to run.
        seed: of its arrivals.
        known: the speed that the machine had.
        texts: that are translated.
        release: that is served.
    """
    trace = trace_of(load, seed, texts)
    requests = texts.requests(deployment.service().transformer.infer, len(trace), load.texts)
    with observing(deployment) as observation, running_cpu_probe(release) as readings:
        outcome = run_load(LoadJob(requests, at_s=tuple(trace.times.tolist()), patience_s=PATIENCE_S))
        began, ended = outcome.began_s, outcome.began_s + max(outcome.wall_s, load.seconds)
        time.sleep(max(0.0, ended - time.perf_counter()))
    inside = [sample for sample in observation.samples if began < sample.time <= ended + 1]
    latencies = [-1.0] * len(trace)
    for each in outcome.samples:
        latencies[each.number] = each.latency_s if each.status == 200 else -1.0
    measured = MeasuredLoad(
        load, seed, tuple(latencies), outcome.wall_s,
        observation.desired().since(began, ended - began), observation.ready().since(began, ended - began),
        tuple((round(sample.time - began, 2), sample.decoding, sample.waiting) for sample in inside),
        readings.speeds(began, ended, known.work_s), BusyCores(tuple(sample.other_cores for sample in inside)),
        tuple(sample.by_kind for sample in inside),
    )  # fmt: skip
    return measured, observation


def compare(document: dict[str, Any], texts: Texts) -> list[Compared]:
    """Simulate what was measured."""
    setting = setting_from_json(document["setting"])
    rows = []
    for measured in map(load_from_json, document["loads"]):
        real, simulated = measured_course(measured), simulated_course(setting, measured, texts)
        rows.append((measured.load, real, simulated, agreement(measured.load, real, simulated)))
    return rows


def _setting(deployment: ServedOverlay, learned: Known, start_s: float) -> ClusterSetting:
    data = autoscaler_settings()
    found = read_components(deployment.manifest(), AutoscalerConfig.from_data(data))
    components = {each.role: (dict(each.annotations), each.container_concurrency) for each in found}
    transformer = dataclasses.replace(learned.transformer, group_size=1, groups_in_flight=GROUPS_IN_FLIGHT)
    return ClusterSetting(dataclasses.replace(learned, transformer=transformer), start_s, data, components)


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--release",
        type=Path,
        required=True,
        metavar="DIR",
        help="the demo release, for the lengths of texts in tokens",
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="results.json, results.md and a PNG for each load",
    )
    add(
        "--replay",
        type=Path,
        metavar="FILE",
        help="a results.json: simulate what was measured, without a cluster",
    )
    add("--scale", type=float, default=1.0, help="factor of the loads' durations")
    add("--learn-seconds", type=float, default=1.5, help="of each measurement in a round of learning")
    add("--rounds", type=int, default=3, help="of learning")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
