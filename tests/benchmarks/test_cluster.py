"""The parts of the comparison with a cluster that need none."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cluster.loads import ClusterLoad, cluster_loads
from benchmarks.cluster.observed import parse_metrics
from benchmarks.cluster.prediction import agreement, measured_course, simulated_course
from benchmarks.cluster.processor_times import (
    GENERATOR,
    OTHER,
    PREDICTOR,
    PROXY,
    TRANSFORMER,
    YIELDING,
    ProcessorTimes,
    is_idle_group,
    kind_of,
    pod_of,
)
from benchmarks.cluster.records import ClusterSetting, MeasuredLoad, load_from_json, setting_from_json
from benchmarks.cluster.report import draw, markdown
from benchmarks.cluster.series import ClusterEvent, StepSeries, desired_pods, ready_pods, start_seconds
from benchmarks.cluster.watch import read_event
from benchmarks.prediction.learning import Known
from benchmarks.prediction.texts import Texts
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.engine.other_processes import BusyCores
from knative.simulator.engine.processors import CoreSpeeds
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.scenarios.scenario import Node
from tests.knative.profiles import profile

TEXTS = Texts(("a", "b"), (10, 20), (5, 10))
LOAD = ClusterLoad("step", "step:from=2,to=8,at=10,seconds=40", 40.0, edges=(10.0,))
SCALING = {
    "autoscaling.knative.dev/target": "1",
    "autoscaling.knative.dev/target-utilization-percentage": "30",
    "autoscaling.knative.dev/min-scale": "1",
    "autoscaling.knative.dev/max-scale": "4",
    "autoscaling.knative.dev/window": "20s",
    "autoscaling.knative.dev/scale-down-delay": "0s",
    "autoscaling.knative.dev/target-burst-capacity": "0",
}
FIXED = {"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/max-scale": "1"}


def setting() -> ClusterSetting:
    known = Known(
        profile(), TransformerModel(miss_seconds=0.002), Node(cores=2, hop_seconds=0.001), 0.003, 100.0, 0.001
    )
    return ClusterSetting(known, 3.0, {}, {"predictor": (SCALING, 0), "transformer": (FIXED, 0)})


def measured() -> MeasuredLoad:
    """A load as it would go where the autoscaler does nothing."""
    count = len(generate_arrivals(LOAD.arrivals, 1))
    one = StepSeries(((0.0, 1),))
    return MeasuredLoad(
        LOAD, 1, (*[0.2] * (count - 1), -1.0), 40.2, one, one, ((1.0, 2, 1), (2.0, 3, 0)),
        CoreSpeeds((1.0, 0.9), 0.5), BusyCores((0.3, 0.5)), ({"predictor": 0.5},),
    )  # fmt: skip


def pod(uid: str, kind: str = "MODIFIED", *, time: float, ready: bool, leaving: bool = False) -> ClusterEvent:
    metadata = {"uid": uid, **({"deletionTimestamp": "2026-11-29T00:00:00Z"} if leaving else {})}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return ClusterEvent(time, kind, {"metadata": metadata, "status": {"conditions": conditions}})


@pytest.mark.parametrize("idle", ["1", "0"])
def test_a_process_of_an_idle_cgroup_gives_way(tmp_path: Path, idle: str) -> None:
    """Its own group is made to say so, in both versions of cgroups."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for tree in ("cpu", "") if controllers in ("", "cpu", "cpu,cpuacct") else ():
            folder = tmp_path / tree / path.strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cpu.idle").write_text(f"{idle}\n")
    assert is_idle_group(os.getpid(), tmp_path) == (idle == "1")


def test_ready_pods_are_those_that_are_ready_and_stay() -> None:
    series = ready_pods([
        pod("a", "ADDED", time=1.0, ready=True), pod("b", "ADDED", time=2.0, ready=False),
        pod("b", time=4.0, ready=True), pod("a", time=6.0, ready=True, leaving=True),
        pod("b", "DELETED", time=7.0, ready=True),
    ])  # fmt: skip
    assert [series.at(time) for time in (0.0, 1.5, 3.0, 5.0, 6.5, 8.0)] == [1, 1, 1, 2, 1, 0]
    assert series.since(3.0, 3.5).points == ((0.0, 1), (1.0, 2), (3.0, 1))


def test_a_start_is_counted_from_the_decision_that_asked_for_it() -> None:
    def scaler(time: float, desired: int) -> ClusterEvent:
        return ClusterEvent(time, "MODIFIED", {"metadata": {"uid": "x"}, "status": {"desiredScale": desired}})

    desired = desired_pods(
        [scaler(0.0, -1), scaler(0.0, 1), scaler(10.0, 3), scaler(12.0, 4), scaler(13.0, 3)]
    )
    assert desired.points[0] == (0.0, 1)
    ready = StepSeries(((0.0, 1), (14.0, 2), (15.0, 3), (40.0, 2)))
    assert start_seconds(desired, ready) == [4.0, 5.0]


def test_loads_are_fractions_of_the_throughput_and_know_their_steps() -> None:
    loads = cluster_loads(100, 0.1)
    assert [load.name for load in loads] == ["step", "bursts", "diurnal", "batches"]
    assert loads[0].arrivals == "step:from=6,to=33,at=3,seconds=11"
    assert loads[0].edges == (3.0,)
    assert all(generate_arrivals(load.arrivals, 0).seconds == load.seconds for load in loads)
    assert [loads[0].is_edge(time) for time in (2.0, 3.0, 6.9, 7.0)] == [False, True, True, False]


def test_processes_are_known_by_their_command_lines_and_pods_by_their_control_groups() -> None:
    commands = {
        "python -m predictor --model_name=yiwen": PREDICTOR,
        "/usr/bin/python3 -m transformer": TRANSFORMER,
        "/ko-app/queue ": PROXY,
        "/usr/bin/python /x/bin/envoy -c bootstrap.yaml": PROXY,
        "python -m benchmarks.transformer_stages.generator": GENERATOR,
        "python -m benchmarks.cluster": OTHER,
        "": OTHER,
    }
    assert {command: kind_of(command) for command in commands} == commands
    uid = "0b9d3c1e-0f0a-4a51-9c7d-3d3a3f8f0a11"
    assert pod_of(f"4:cpu:/kubepods/burstable/pod{uid}/abc") == uid
    assert pod_of(f"0::/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/x.scope") == uid
    assert pod_of("0::/user.slice") == ""


@pytest.mark.parametrize(("nice", "kind"), [(0, OTHER), (1, YIELDING)])
def test_processor_time_of_a_new_process_counts_from_its_start(nice: int, kind: str) -> None:
    if os.nice(0) > 0:
        kind = YIELDING  # the tests themselves give way, and so do the processes that they start
    times = ProcessorTimes()
    times.read(())
    assert not any(times.seconds.values())
    work = "while time.process_time() < 0.2: pass"
    code = f"import os, time\nos.nice({nice})\n{work}\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        times.read(())
        process.communicate(b"\n")
    assert times.seconds[kind] >= 0.2 - 1 / os.sysconf("SC_CLK_TCK")


def test_an_event_is_a_line_of_json() -> None:
    line = '{"type":"DELETED","object":{"kind":"Pod","metadata":{"uid":"a"},"status":{"conditions":[]}}}\n'
    event = read_event(line, 3.0)
    assert (event.time, event.kind, event.uid, event.is_ready) == (3.0, "DELETED", "a", False)


def test_a_predictors_metrics_are_its_sequences() -> None:
    text = '# HELP x\nyiwen_predictor_slots_used{model="a"} 3.0\nyiwen_predictor_waiting_sequences 2.0\n'
    assert parse_metrics(text) == (3, 2)
    assert parse_metrics("") == (0, 0)


def test_what_was_measured_is_read_back_from_json() -> None:
    document = json.loads(json.dumps({"setting": setting().to_json(), "load": measured().to_json()}))
    assert setting_from_json(document["setting"]) == setting()
    assert load_from_json(document["load"]) == measured()


def test_a_simulated_load_scales_as_the_manifest_says_and_is_compared_with_the_measured_one(
    tmp_path: Path,
) -> None:
    real, simulated = measured_course(measured()), simulated_course(setting(), measured(), TEXTS)
    assert (real.figures.failed, simulated.figures.failed) == (1, 0)
    assert real.figures.p50 == pytest.approx(0.2)
    assert max(value for _, value in simulated.desired.points) > 2
    ready_at = next(time for time, value in simulated.ready.points if value > 1)
    assert ready_at >= 3.0 + min(time for time, value in simulated.desired.points if value > 1) - 1.0
    agreed = agreement(LOAD, real, simulated)
    assert agreed.decisions == 17  # of 19, two after the step
    assert agreed.desired_within_one < agreed.decisions
    assert agreement(LOAD, real, real) == dataclasses.replace(
        agreed, desired_within_one=17, ready_within_one=17
    )
    row = (LOAD, real, simulated, agreed)
    assert f"| step | {len(real.latencies)} | 1 |" in markdown([row])
    draw(row, tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_windows_show_means_in_flight_and_slow_answers() -> None:
    middles, flight, slow = measured_course(measured()).windows(40.0)
    assert middles.tolist()[:2] == [2.5, 7.5]
    assert flight[0] == pytest.approx(3.0)
    assert np.isnan(flight[1])
    assert slow[0] == pytest.approx(0.2)
