"""`yiwen rollout run` against the API server's fake and an HTTP server with the services' own metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from cli import rollout_run
from cli.__main__ import main
from inferenceservices import cluster as cluster_module
from inferenceservices.canary.run_state import RUN_KEY
from inferenceservices.cluster import ClusterClient, ClusterError
from tests.cli.rollout_metrics import MetricsServer, TransformerPod
from tests.http_servers import write_kubeconfig
from tests.inferenceservices.api_server import ApiServer
from tests.inferenceservices.rollouts import service_document, traffic
from tests.inferenceservices.test_gpu_capacity import node, quota

STABLE, CANARY = "yiwen-transformer-00001", "yiwen-transformer-00002"
KEPT = "yiwen-rollout-run"
OTHER_CANARY = "yiwen-predictor-00002"
Lines = Callable[[], list[str]]


class Once(dict[str, tuple[int, str]]):
    """Refusals, each of which is given once."""

    def __getitem__(self, name: str) -> tuple[int, str]:
        return self.pop(name)


class Killed(BaseException):
    """The process ends at this point, and nothing of it runs any more."""


@pytest.fixture
def metrics() -> Iterator[MetricsServer]:
    with MetricsServer().running() as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: MetricsServer) -> Iterator[ApiServer]:
    """A cluster with release a, whose transformer has two pods."""
    server = ApiServer(service_document())
    server.lists["resourcequotas"] = [quota("gpu", 4, 1)]
    server.lists["nodes"] = [node()]
    write_kubeconfig(tmp_path / "kubeconfig", server.address)
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )
    monkeypatch.setattr(cluster_module, "RETRY_DELAY_S", 0.01)
    monkeypatch.setattr(rollout_run, "POLL_S", 0.01)
    with server.running():
        for name in ("stable-1", "stable-2"):
            add_pod(server, metrics, TransformerPod(name, STABLE, 450))
        yield server


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return lambda: capsys.readouterr().out.splitlines()


def add_pod(server: ApiServer, metrics: MetricsServer, pod: TransformerPod) -> None:
    metrics.pods[pod.name] = pod
    server.pod_addresses[pod.name] = f"{metrics.address}/{pod.name}"
    labels = {"serving.knative.dev/revision": pod.revision}
    server.lists["pods"].append({
        "metadata": {"name": pod.name, "labels": labels}, "spec": {}, "status": {"phase": "Running"},
    })  # fmt: skip


def start_canary(server: ApiServer, metrics: MetricsServer, **canary: Any) -> TransformerPod:
    """Release b at 10 %, with one pod."""
    assert main(["rollout", "set", "yiwen", "-n", "demo", "--percent", "10", "--release", "b"]) == 0
    pod = TransformerPod("canary-1", CANARY, canary.pop("requests", 250), **canary)
    add_pod(server, metrics, pod)
    return pod


def run(*options: str) -> int:
    return main(["rollout", "run", "yiwen", "-n", "demo", "--every", "10ms", *options])


def shares(server: ApiServer) -> list[dict[str, int]]:
    return [traffic(server.controller, component) for component in ("predictor", "transformer")]


def test_an_equal_canary_gets_all_traffic_step_by_step(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    server.document["metadata"]["uid"] = "0f-1e"
    start_canary(server, metrics)
    lines()
    assert run() == 0
    assert shares(server) == [{"b": 100}] * 2
    said = lines()
    assert [line.split(":")[0] for line in said if "promote: not worse" in line] == ["10 %", "50 %"]
    assert "250 and 900 requests" in said[1]
    assert said[-1].startswith("yiwen is promoted")
    percents = [patch["spec"]["predictor"]["canaryTrafficPercent"] for patch in server.patches]
    assert percents == [10, 50, None]
    assert len(server.controller.revisions["transformer"]) == 2  # what is noted makes no new revisions
    assert server.document["metadata"]["generation"] == 4  # ... and changes nothing of the service
    (owner,) = server.config_maps[KEPT]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("InferenceService", "yiwen", "0f-1e")


@pytest.mark.parametrize(
    ("fault", "figure"),
    [
        ({"seconds": 0.3}, "mean of predictor"),
        ({"flags": 0.1}, "flags per text 0.100 against 0.000"),
        ({"confidence": 0.7}, "mean confidence 0.700 against 0.950"),
        ({"errors": 0.1}, "errors 10.00% against 0.00%"),
        ({"errors": 1.0}, "errors 100.00% against 0.00%"),
    ],
    ids=["slow", "wrong", "unsure", "failing", "dead"],
)
def test_a_worse_canary_is_rolled_back_and_why(
    fault: dict[str, float], figure: str, server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    start_canary(server, metrics, **fault)
    assert run() == 1
    assert shares(server) == [{"a": 100}] * 2
    (line,) = [line for line in lines() if "roll back: worse" in line]
    assert figure in line
    assert run() == 1  # a canary that was taken back is not tried again by itself
    assert shares(server) == [{"a": 100}] * 2


def test_a_canary_may_be_expected_to_be_less_sure(server: ApiServer, metrics: MetricsServer) -> None:
    start_canary(server, metrics, confidence=0.7)
    assert run("--confidence", "0.3") == 0
    assert shares(server) == [{"b": 100}] * 2


def test_a_canary_that_is_set_again_is_measured_from_then_on(
    server: ApiServer, metrics: MetricsServer
) -> None:
    pod = start_canary(server, metrics, errors=0.1)
    assert run() == 1
    pod.errors = 0.0
    assert main(["rollout", "set", "yiwen", "-n", "demo", "--percent", "10"]) == 0
    assert run() == 0
    assert shares(server) == [{"b": 100}] * 2


def test_a_canary_that_never_starts_is_rolled_back(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    server.controller.starts = lambda name: name != OTHER_CANARY
    start_canary(server, metrics)
    assert run("--start", "50ms") == 1
    said = lines()
    assert f"wait: {OTHER_CANARY} is not ready yet" in said
    assert any(line.startswith(f"roll back: {OTHER_CANARY} is not ready after") for line in said)
    assert {
        server.document["spec"][name]["canaryTrafficPercent"] for name in ("predictor", "transformer")
    } == {0}


def test_too_few_requests_are_waited_for_up_to_a_number_of_looks(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    start_canary(server, metrics, requests=30)
    assert run("--looks", "3") == 1
    said = lines()
    assert sum("hold: " in line for line in said) == 3
    assert "no decision after 3 looks at 10 %" in said[-1]
    assert shares(server) == [{"a": 90, "b": 10}] * 2
    assert run("--looks", "30") == 0  # more looks go on where these ended
    assert sum("hold: " in line for line in lines() if line.startswith("10 %")) == 3


def test_the_last_percentage_may_be_less_than_everything(server: ApiServer, metrics: MetricsServer) -> None:
    start_canary(server, metrics)
    assert run("--to", "10,30") == 0
    assert shares(server) == [{"a": 70, "b": 30}] * 2


def test_prometheus_gives_the_same_counters(server: ApiServer, metrics: MetricsServer, lines: Lines) -> None:
    start_canary(server, metrics, errors=0.1)
    assert run("--prometheus", metrics.address) == 1
    assert shares(server) == [{"a": 100}] * 2
    assert any("errors 10.00% against 0.00%" in line and "250 and 900 requests" in line for line in lines())
    assert all('namespace="demo"' in query for query in metrics.queries)


@pytest.mark.parametrize("fault", [0.0, 0.1], ids=["equal", "failing"])
def test_a_run_that_is_killed_again_and_again_is_resumed(
    fault: float, server: ApiServer, metrics: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed just before or just after most of its changes; what was changed is always a whole state."""
    start_canary(server, metrics, errors=fault)
    fates = cycle(
        ["killed before", "killed after", "killed before", "lives", "killed after", "lives", "lives"]
    )

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def changing(*arguments: Any) -> None:
            fate = next(fates)
            if fate != "killed before":
                change(*arguments)
            if fate != "lives":
                raise Killed

        return changing

    for method in ("_patch", "write_config_map"):
        monkeypatch.setattr(ClusterClient, method, dying(getattr(ClusterClient, method)))
    kills, code = 0, None
    while code is None:
        try:
            code = run()
        except Killed:
            kills += 1
        predictor, transformer = shares(server)
        assert predictor == transformer
        assert kills < 20
    assert kills >= 3
    # A run that was killed after its rollback finds a canary without traffic: it ends as the rollback did.
    assert (code, predictor) == ((1, {"a": 100}) if fault else (0, {"b": 100}))


def test_a_process_that_is_killed_while_it_moves_traffic_is_gone_on_with(
    server: ApiServer, metrics: MetricsServer, tmp_path: Path
) -> None:
    """By SIGKILL, when the change is done and its answer has not come."""
    start_canary(server, metrics)
    killed = threading.Event()

    def kill(request: str) -> None:
        if request.startswith("PATCH") and "/inferenceservices/" in request and not killed.is_set():
            process.kill()
            killed.set()

    server.after_write = kill
    command = [sys.executable, "-m", "cli", "rollout", "run", "yiwen", "-n", "demo", "--every", "10ms"]
    environ = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    assert process.wait(60) == -signal.SIGKILL
    assert killed.is_set()
    assert shares(server) == [{"a": 50, "b": 50}] * 2
    assert run() == 0
    assert shares(server) == [{"b": 100}] * 2


def test_a_rollback_by_somebody_else_ends_the_run(
    server: ApiServer, metrics: MetricsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    start_canary(server, metrics)
    back = {"spec": {name: {"canaryTrafficPercent": 0} for name in ("predictor", "transformer")}}
    # Between the decision and the change of traffic.
    server.before_patch = [lambda: server.apply(back)]
    assert run() == 1
    captured = capsys.readouterr()
    assert "hold: somebody else changed the rollout" in captured.out
    assert "has no traffic, as after a rollback" in captured.err
    assert shares(server) == [{"a": 100}] * 2


def test_metrics_that_cannot_be_read_hold_the_canary_until_they_can(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    pod = start_canary(server, metrics)
    server.pod_addresses[pod.name] = "http://127.0.0.1:1"
    metrics.pods["stable-1"].read = lambda: _back(server, metrics, pod)  # type: ignore[method-assign]
    assert run("--to", "10", "--looks", "10000") == 0
    assert any("hold: cannot read the metrics of canary-1" in line for line in lines())


def _back(server: ApiServer, metrics: MetricsServer, pod: TransformerPod) -> None:
    """After the third reading of the stable release the canary's pod can be reached."""
    stable = metrics.pods["stable-1"]
    stable.readings += 1
    if stable.readings == 3:
        server.pod_addresses[pod.name] = f"{metrics.address}/{pod.name}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "50,10"], "give ascending percentages"),
        (["--to", "10,x"], "give ascending percentages"),
        (["--to", "10,101"], "give ascending percentages"),
        (["--every", "5"], "is not a duration"),
        (["--start", "0s"], "above 0"),
        (["--looks", "0"], "--looks"),
        (["--confidence", "2"], "--confidence"),
    ],
    ids=str,
)
def test_wrong_options_say_what_is_meant(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options) == 2
    assert message in capsys.readouterr().err


def test_without_a_canary_there_is_nothing_to_run(server: ApiServer, lines: Lines) -> None:
    assert run() == 0
    assert lines() == ["yiwen is promoted: no share holds its newest revisions back"]
    assert server.patches == []


def test_a_note_that_is_not_ours_is_refused(
    server: ApiServer, metrics: MetricsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    start_canary(server, metrics)
    for text in (
        "{",
        "[]",
        '{"generation": "x", "since": 1}',
        '{"generation": 1, "since": 1, "canary": [1]}',
    ):
        server.config_maps[KEPT] = {"data": {"revision": CANARY, "run": text}}
        assert run() == 1
        assert "kubectl delete configmap NAME-rollout-run" in capsys.readouterr().err
    assert shares(server) == [{"a": 90, "b": 10}] * 2


def test_without_permission_to_note_its_state_a_run_says_so(
    server: ApiServer, metrics: MetricsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    start_canary(server, metrics)
    server.refusals[KEPT] = (403, 'configmaps is forbidden: User "eve" cannot get resource')
    assert run() == 2
    assert "ask for a Role that allows it, see docs/guides/canary.md" in capsys.readouterr().err
    assert shares(server) == [{"a": 90, "b": 10}] * 2


def test_metrics_that_never_come_end_a_run_without_a_decision(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    start_canary(server, metrics)
    assert run("--prometheus", "http://127.0.0.1:1", "--looks", "2") == 1
    said = lines()
    assert sum("hold: no answer from Prometheus at http://127.0.0.1:1" in line for line in said) == 1
    assert said[-1].startswith("no decision: ")
    assert run("--prometheus", f"{metrics.address}/elsewhere", "--looks", "2") == 1
    assert any("check that --prometheus is the URL of a Prometheus server" in line for line in lines())
    assert shares(server) == [{"a": 90, "b": 10}] * 2


def test_an_api_server_that_is_away_for_a_while_is_waited_for(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    pod = start_canary(server, metrics)
    read = pod.read

    def read_and_fail() -> None:
        read()
        if pod.readings == 2:
            server.refusals = Once({"yiwen": (503, "the leader changes")})

    pod.read = read_and_fail  # type: ignore[method-assign]
    assert run("--looks", "10000") == 0
    assert sum("hold: " in line and "503: the leader changes" in line for line in lines()) == 1
    assert shares(server) == [{"b": 100}] * 2
    server.refusals = {"yiwen": (503, "the leader changes")}
    assert run() == 2


def test_a_rollback_that_fails_is_tried_again_at_once(
    server: ApiServer, metrics: MetricsServer, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    start_canary(server, metrics, errors=0.1)
    update, failures = ClusterClient.update, [ClusterError("cannot change it: the API server answers 500")]

    def failing_once(self: ClusterClient, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return update(self, *arguments)

    monkeypatch.setattr(ClusterClient, "update", failing_once)
    assert run("--every", "100ms") == 1
    assert sum("roll back: worse" in line for line in lines()) == 2
    assert shares(server) == [{"a": 100}] * 2
    assert json.loads(server.config_maps[KEPT]["data"][RUN_KEY])["looks"] == 0


def test_revisions_without_metrics_hold_the_canary(
    server: ApiServer, metrics: MetricsServer, lines: Lines
) -> None:
    start_canary(server, metrics)
    server.lists["pods"].clear()
    assert run("--looks", "2") == 1
    assert any(f"hold: neither {STABLE} nor {CANARY} has a pod whose metrics" in line for line in lines())


def test_an_answer_that_is_no_metrics_says_what_to_use(
    server: ApiServer, metrics: MetricsServer, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    start_canary(server, metrics)
    monkeypatch.setattr(metrics, "metrics", lambda pod: b"<html>a login page</html>")
    assert run("--looks", "2") == 1
    assert any("is not Prometheus' text format: use --prometheus" in line for line in lines())


def test_ctrl_c_ends_a_run_that_another_goes_on_with(
    server: ApiServer, metrics: MetricsServer, tmp_path: Path
) -> None:
    start_canary(server, metrics)
    # Who is started in the background ignores Ctrl-C, and so would what it starts.
    heeding = ["env", "--default-signal=INT", sys.executable]
    command = ["-m", "cli", "rollout", "run", "yiwen", "-n", "demo", "--every", "1h"]
    with subprocess.Popen(
        [*heeding, *command],
        env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "10 %: measured from now on, 3600 s between looks\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 130
        finally:
            process.kill()
        assert "the same command goes on from here" in process.stderr.read()
    noted = json.loads(server.config_maps[KEPT]["data"][RUN_KEY])
    assert (noted["generation"], noted["looks"]) == (2, 0)
    assert run() == 0
    assert shares(server) == [{"b": 100}] * 2
