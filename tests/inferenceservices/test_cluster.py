"""`yiwen rollout` from the command line against a fake API server over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from inferenceservices import cluster as cluster_module
from inferenceservices.cluster import MAX_ATTEMPTS, ClusterClient, ClusterError
from tests.http_servers import write_kubeconfig
from tests.inferenceservices.api_server import ApiServer
from tests.inferenceservices.rollouts import RESOURCE, service_document, traffic
from tests.inferenceservices.test_gpu_capacity import node, pod, quota


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster with the service, a quota and a node; the kubeconfig names it."""
    server = ApiServer(service_document())
    server.lists["resourcequotas"] = [quota("gpu", 4, 1)]
    server.lists["nodes"] = [node()]
    server.lists["pods"] = [pod("n1", 1)]
    write_kubeconfig(tmp_path / "kubeconfig", server.address)
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )
    monkeypatch.setattr(cluster_module, "RETRY_DELAY_S", 0.01)
    monkeypatch.setenv("COLUMNS", "200")
    with server.running():
        yield server


def rollout(*arguments: str) -> int:
    command, *rest = arguments
    return main(["rollout", command, "yiwen", "-n", "demo", *rest])


def _traffic(server: ApiServer) -> list[dict[str, int]]:
    return [traffic(server.controller, component) for component in ("predictor", "transformer")]


def test_first_deployment_canary_and_promotion(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert _traffic(server) == [{"a": 100}] * 2
    for arguments, expected in (
        (["set", "--percent", "10", "--release", "b"], {"a": 90, "b": 10}),
        (["set", "--percent", "50"], {"a": 50, "b": 50}),
        (["promote"], {"b": 100}),
    ):
        assert rollout(*arguments) == 0
        assert _traffic(server) == [expected] * 2
    assert len(server.patches) == 3
    assert rollout("promote") == 0
    assert "promoted already" in capsys.readouterr().out
    assert len(server.patches) == 3


def test_a_rollout_labels_predictors_and_creates_the_service_that_selects_them(server: ApiServer) -> None:
    for _ in range(2):  # the second time the Service exists
        assert rollout("set", "--percent", "10", "--release", "b") == 0
        assert server.document["spec"]["predictor"]["labels"]["yiwen/release"] == "b"
        assert list(server.services) == ["yiwen-predictor-release-b"]
        assert rollout("rollback") == 0
        assert rollout("set", "--percent", "100", "--release", "a") == 0
        server.services.pop("yiwen-predictor-release-a")
    spec = server.services["yiwen-predictor-release-b"]["spec"]
    assert spec["selector"] == {
        "serving.kserve.io/inferenceservice": "yiwen",
        "component": "predictor",
        "yiwen/release": "b",
    }
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": 8012}]


def test_a_dry_run_creates_no_service(server: ApiServer) -> None:
    assert rollout("set", "--percent", "10", "--release", "b", "--dry-run") == 0
    assert server.services == {}


def test_without_permission_to_create_a_service_the_rollout_goes_on_and_says_so(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refusals["services"] = (403, 'services is forbidden: User "eve" cannot create resource')
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    assert "cannot create Service demo/yiwen-predictor-release-b" in capsys.readouterr().err
    assert _traffic(server) == [{"a": 90, "b": 10}] * 2


def test_a_canary_and_a_promoted_release_are_rolled_back(server: ApiServer) -> None:
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    assert rollout("rollback") == 0
    assert _traffic(server) == [{"a": 100}] * 2
    assert rollout("set", "--percent", "100", "--release", "c") == 0
    assert _traffic(server) == [{"c": 100}] * 2
    assert rollout("rollback") == 0
    assert _traffic(server) == [{"a": 100}] * 2


def _set_after_a_rollback(server: ApiServer, *words: str) -> int:
    """``set --percent 40 --release c`` where release b was rolled back and c does not start by itself."""
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    assert rollout("rollback") == 0
    server.controller.starts = lambda name: False
    return rollout("set", "--percent", "40", "--release", "c", *words)


def test_after_a_rollback_a_canary_has_no_share_before_it_is_ready(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[list[dict[str, int]]] = []

    def sleep(seconds: float) -> None:
        shown.append(_traffic(server))
        if len(shown) == 3:
            server.controller.start_newest()

    monkeypatch.setattr("cli.rollout.time.sleep", sleep)
    assert _set_after_a_rollback(server) == 0
    assert shown == [[{"a": 100}] * 2] * 3
    assert _traffic(server) == [{"a": 60, "c": 40}] * 2
    assert "40 % of the traffic of yiwen to yiwen-predictor-00003" in capsys.readouterr().out


def test_a_canary_that_is_not_ready_in_time_gets_no_share(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _set_after_a_rollback(server, "--wait", "1s") == 1
    assert _traffic(server) == [{"a": 100}] * 2
    assert "yiwen rollout set yiwen --percent 40" in capsys.readouterr().out
    server.controller.start_newest()
    assert rollout("set", "--percent", "40") == 0
    assert _traffic(server) == [{"a": 60, "c": 40}] * 2


def test_ctrl_c_while_a_canary_starts_says_how_to_go_on(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.rollout.time.sleep", interrupt)
    assert _set_after_a_rollback(server) == 130
    assert "yiwen rollout set yiwen --percent 40" in capsys.readouterr().err
    assert _traffic(server) == [{"a": 100}] * 2


def test_a_wait_that_is_no_duration_changes_nothing(server: ApiServer) -> None:
    assert rollout("set", "--percent", "40", "--release", "c", "--wait", "soon") == 2
    assert not server.patches


def test_a_first_deployment_refuses_a_percentage(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.document["status"]["components"] = {}
    server.controller.revisions.clear()
    server.controller.starts = lambda name: not name.endswith("-00001")
    server.controller.reconcile()
    assert rollout("set", "--percent", "10", "--release", "b") == 1
    assert "ignores the share of a first deployment" in capsys.readouterr().err
    assert rollout("set", "--percent", "100", "--release", "b") == 0
    assert _traffic(server) == [{"b": 100}] * 2


def _touch(server: ApiServer) -> None:
    server.apply({"metadata": {"labels": {"touched": server.document["metadata"]["resourceVersion"]}}})


def test_after_a_conflict_the_step_is_planned_again(server: ApiServer) -> None:
    """Somebody sets a share between reading and writing: nothing of theirs is lost but what was asked for."""
    server.before_patch = [lambda: _touch(server)] * (MAX_ATTEMPTS - 1)
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    assert len(server.patches) == 1
    assert "touched" in server.document["metadata"]["labels"]
    path = "/apis/serving.kserve.io/v1beta1/namespaces/demo/inferenceservices/yiwen"
    assert server.requests.count(f"PATCH {path}") == MAX_ATTEMPTS


def test_a_conflict_may_change_the_plan(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    promoted = {"spec": {name: {"canaryTrafficPercent": None} for name in ("predictor", "transformer")}}
    server.before_patch = [lambda: server.apply(promoted)]
    assert rollout("set", "--percent", "50") == 1
    assert "take a share below 100 for a rollback" in capsys.readouterr().err
    assert _traffic(server) == [{"b": 100}] * 2


def test_a_conflict_in_every_attempt_is_an_error(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.before_patch = [lambda: _touch(server)] * MAX_ATTEMPTS
    assert rollout("set", "--percent", "10", "--release", "b") == 2
    assert "somebody else keeps changing it" in capsys.readouterr().err
    assert server.patches == []


def test_a_canary_that_is_not_ready_gets_no_more_traffic(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.controller.starts = lambda name: name != "yiwen-predictor-00002"
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    for arguments in (["set", "--percent", "50"], ["promote"]):
        assert rollout(*arguments) == 1
        told = capsys.readouterr().err
        assert "yiwen-predictor-00002 is not ready (RevisionFailed: Revision yiwen-predictor-00002" in told
    assert len(server.patches) == 1
    assert rollout("rollback") == 0
    assert _traffic(server) == [{"a": 100}] * 2


def test_a_quota_that_is_too_small_is_refused(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.lists["resourcequotas"] = [quota("gpu", 1, 1)]
    assert rollout("set", "--percent", "10", "--release", "b") == 1
    assert f"ResourceQuota gpu leaves 0 of {RESOURCE}" in capsys.readouterr().err
    assert server.patches == []


def test_full_nodes_are_refused_without_allow_pending(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.lists["pods"] = [pod("n1", 7)]
    assert rollout("set", "--percent", "10", "--release", "b") == 1
    assert "--allow-pending" in capsys.readouterr().err
    assert rollout("set", "--percent", "10", "--release", "b", "--allow-pending") == 0


def test_all_pages_of_a_list_are_read(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PAGE_SIZE", 2)
    server.lists["pods"] = [pod("n1", 1) for _ in range(7)]
    with ClusterClient("demo") as cluster:
        assert len(cluster.capacity().pods or ()) == 7
    assert rollout("set", "--percent", "10", "--release", "b") == 1


def test_missing_permissions_are_named_and_not_fatal(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in server.lists:
        server.refusals[kind] = (403, f"{kind} is forbidden")
    for revision in server.controller.templates:
        server.refusals[revision] = (403, "revisions.serving.knative.dev is forbidden")
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    told = capsys.readouterr().err
    assert "no right to list ResourceQuotas" in told
    assert "no right to list nodes and pods" in told
    assert (
        "could not be read, so that nothing says whether two would mix: yiwen-predictor-00001, yiwen" in told
    )
    assert rollout("status") == 0
    assert "free on nodes: not known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (403, 'inferenceservices "yiwen" is forbidden: User "eve" cannot get resource', "ask for a Role"),
        (401, "Unauthorized", "log in to the cluster again"),
        (404, "the server could not find the requested resource", "that KServe is installed"),
        (
            403,
            'admission webhook "x.kserve-webhook-server.validator" denied the request: no',
            "denied the request: no",
        ),
        (500, "etcd is away", "answers 500: etcd is away"),
    ],
)
def test_errors_of_the_api_server_are_explained(
    server: ApiServer, capsys: pytest.CaptureFixture[str], status: int, message: str, told: str
) -> None:
    server.refusals["yiwen"] = (status, message)
    for command in (["status"], ["promote"], ["rollback"], ["set", "--percent", "10"]):
        assert rollout(*command) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.startswith("yiwen rollout: cannot read InferenceService demo/yiwen")


def test_an_api_server_that_does_not_answer_is_an_error_within_the_timeout(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.silent = True
    assert rollout("status", "--timeout", "0.2") == 2
    assert "does not answer within 0.2 s" in capsys.readouterr().err


def test_a_refused_connection_is_an_error(server: ApiServer, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(path.read_text().replace(server.address, "http://127.0.0.1:9"), encoding="utf-8")
    with (
        pytest.raises(ClusterError, match=r"127\.0\.0\.1:9 does not answer"),
        ClusterClient("demo") as cluster,
    ):
        cluster.inference_service("yiwen")


def test_an_unknown_context_is_an_error(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout("status", "--context", "nowhere") == 2
    assert "get-contexts" in capsys.readouterr().err


def test_without_a_kubeconfig_outside_of_a_cluster(
    server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kubeconfig").unlink()
    assert rollout("status") == 2
    assert "set KUBECONFIG" in capsys.readouterr().err


def test_a_dry_run_prints_the_patch_and_changes_nothing(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rollout("set", "--percent", "10", "--release", "b", "--dry-run") == 0
    shown = capsys.readouterr()
    patch: dict[str, Any] = json.loads(shown.out)
    assert patch["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert "nothing was changed" in shown.err
    assert server.patches == []
    server.apply({**patch, "metadata": {**patch["metadata"], "resourceVersion": "1"}})
    assert _traffic(server) == [{"a": 90, "b": 10}] * 2


def test_the_status_shows_both_components(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.controller.starts = lambda name: name != "yiwen-predictor-00002"
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    capsys.readouterr()
    assert rollout("status", "--json") == 0
    rows = [list(row.values()) for row in json.loads(capsys.readouterr().out)["revisions"]]
    assert rollout("status") == 0
    shown = capsys.readouterr().out
    assert all(cell in shown for row in rows for cell in row)
    assert "│" not in shown
    assert [row[:6] for row in rows] == [
        ["predictor", "yiwen-predictor-00002", "b", "0 %", "no", ""],
        ["predictor", "yiwen-predictor-00001", "a", "10 %", "yes", "latest"],
        ["predictor", "yiwen-predictor-00001", "a", "90 %", "yes", "prev"],
        ["transformer", "yiwen-transformer-00002", "b", "10 %", "yes", "latest"],
        ["transformer", "yiwen-transformer-00001", "a", "90 %", "yes", "prev"],
    ]
    assert "predictor is not ready: RevisionFailed" in shown
    assert f"needs 1 of {RESOURCE} more; quota gpu leaves 3, 6 free on nodes that fit" in shown


def test_gpus_of_a_serving_runtime_are_counted(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = server.document["spec"]["predictor"]
    containers = predictor.pop("containers")
    predictor["model"] = {
        "modelFormat": {"name": "yiwen"}, "runtime": "yiwen", "storageUri": "pvc://models/releases/a",
    }  # fmt: skip
    server.runtimes["yiwen"] = {
        "apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime",
        "metadata": {"name": "yiwen"}, "spec": {"containers": containers},
    }  # fmt: skip
    assert rollout("status") == 0
    assert f"needs 1 of {RESOURCE} more" in capsys.readouterr().out
    server.runtimes.clear()
    assert rollout("set", "--percent", "100", "--release", "b") == 0
    assert "ServingRuntime could not be read" in capsys.readouterr().err
    assert server.document["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/releases/b"
