"""`yiwen doctor` from the command line, against recorded states that are served over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from inferenceservices.check import ROOT
from tests.http_servers import write_kubeconfig
from tests.inferenceservices.builds import require_kubectl
from tests.inferenceservices.doctor.http_states import RecordedServer, cluster_routes
from tests.inferenceservices.doctor.states import PREDICTOR_METRICS, TRANSFORMER_METRICS, Json, after, before
from tests.inferenceservices.doctor.test_checks import AFTER_FAULTS, BEFORE_FAULTS

READY: Json = {"/v2": {"name": "yiwen", "version": "0.1.0"}, "/v2/health/ready": {"ready": True}}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedServer]:
    """An API server without any objects; the kubeconfig names it."""
    server = RecordedServer()
    write_kubeconfig(tmp_path / "kubeconfig", server.url)
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )
    with server.running():
        yield server


def _doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["doctor", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def _names(answer: Any) -> set[str]:
    return {found["check"] for found in answer["found"]}


def _overlay(name: str) -> list[str]:
    require_kubectl()
    return ["--overlay", str(ROOT / "overlays" / name)]


def test_before_a_healthy_cluster_only_lacks_the_images_of_the_overlay(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The overlay of the repository names the example registry."""
    server.routes = cluster_routes(before())
    code, answer = _doctor(capsys, *_overlay("production"))
    assert code == 1
    assert _names(answer) == {"image-placeholder"}
    assert answer["unchecked"] == []
    assert {method for method, _, _ in server.requests} == {"GET"}


@pytest.mark.parametrize(
    "fault", ["no-istio-kinds", "affinity-off", "no-redis-secret", "slices-taken", "no-knative"]
)
def test_before_a_fault_is_found_over_http(
    fault: str, server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay, check, change = BEFORE_FAULTS[fault]
    state = before(overlay)
    change(state)
    server.routes = cluster_routes(state)
    code, answer = _doctor(capsys, *_overlay(overlay))
    assert code == 1
    assert _names(answer) == {check, "image-placeholder"}


def test_of_secrets_only_the_names_are_asked_for(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.routes = cluster_routes(before())
    _doctor(capsys, *_overlay("production"))
    (accept,) = {accept for _, path, accept in server.requests if path.endswith("/secrets")}
    assert "as=PartialObjectMetadataList" in accept


def test_with_the_rights_of_a_namespace_it_says_what_it_could_not_see(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.routes = cluster_routes(before())
    server.refused = {"/api/v1/nodes", "/api/v1/pods", "/apis/apps/v1/deployments"}
    code, answer = _doctor(capsys, *_overlay("production"))
    assert code == 1
    assert _names(answer) == {"image-placeholder"}
    reasons = {entry["check"]: entry["reason"] for entry in answer["unchecked"]}
    assert set(reasons) == {
        "kserve-old", "keda-missing", "keda-nan", "mesh-missing",
        "gpu-node", "mig-state", "mig-profile", "gpu-taken", "node-small",
    }  # fmt: skip
    assert "cannot list nodes" in reasons["gpu-node"]


def test_after_a_healthy_service_has_no_findings(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.routes = cluster_routes(after())
    code, answer = _doctor(capsys, "yiwen", "-n", "yiwen")
    assert (code, answer["found"], answer["unchecked"]) == (0, [], [])


@pytest.mark.parametrize(
    "fault", ["plan-of-another-gpu", "no-slice-free", "memory-limit", "quota-used-up", "slots-full"]
)
def test_after_a_fault_is_found_over_http(
    fault: str, server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    check, change = AFTER_FAULTS[fault]
    state = after()
    change(state)
    server.routes = cluster_routes(state)
    code, answer = _doctor(capsys, "yiwen", "-n", "yiwen")
    assert code == 1
    assert _names(answer) == {check}


def test_logs_that_may_not_be_read_are_said(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    state = after()
    AFTER_FAULTS["plan-of-another-gpu"][1](state)
    server.routes = cluster_routes(state)
    server.refused = {path for path in server.routes if path.endswith("/log")}
    code, answer = _doctor(capsys, "yiwen", "-n", "yiwen")
    assert {entry["check"] for entry in answer["unchecked"]} == {
        "plan-missing", "release-damaged", "gpu-failed", "start-refused",
    }  # fmt: skip
    assert code == 0


def test_text_names_fault_evidence_and_fix(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    state = after()
    AFTER_FAULTS["quota-used-up"][1](state)
    server.routes = cluster_routes(state)
    assert main(["doctor", "yiwen", "-n", "yiwen"]) == 1
    out = capsys.readouterr().out
    assert "its pods are not made: the quota gpu is used up [quota-exceeded]" in out
    assert "evidence: pods" in out
    assert "fix:      kubectl -n yiwen edit resourcequota gpu" in out
    assert "1 found" in out


def test_a_service_that_is_not_there_is_an_error(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "yiwen", "-n", "yiwen"]) == 2
    assert "it is not there" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["yiwen", "--url", "http://localhost"]])
def test_one_thing_is_looked_at(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments]) == 2
    assert "give one of NAME, --overlay DIR and --url URL" in capsys.readouterr().err


def test_a_url_reads_both_services(server: RecordedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.routes = {**READY, "/metrics": TRANSFORMER_METRICS}
    predictor = RecordedServer()
    predictor.routes = {**READY, "/metrics": PREDICTOR_METRICS}
    with predictor.running():
        code, answer = _doctor(capsys, "--url", server.url, "--predictor-url", predictor.url)
        assert (code, answer["found"], answer["unchecked"]) == (0, [], [])
        predictor.routes["/metrics"] = PREDICTOR_METRICS.replace("failures_total 0.0", "failures_total 2.0")
        server.routes.pop("/v2/health/ready")
        code, answer = _doctor(capsys, "--url", server.url, "--predictor-url", predictor.url)
        assert code == 1
        assert _names(answer) == {"steps-fail", "not-ready"}


def test_without_the_predictor_its_checks_are_not_made(
    server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.routes = {"/v2": {"name": "other"}, "/v2/health/ready": {}, "/metrics": TRANSFORMER_METRICS}
    code, answer = _doctor(capsys, "--url", server.url)
    assert code == 1
    assert _names(answer) == {"not-yiwen"}
    assert "slots-full" in {entry["check"] for entry in answer["unchecked"]}


def test_exchanged_services_are_named(server: RecordedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.routes = {**READY, "/metrics": PREDICTOR_METRICS}
    code, answer = _doctor(capsys, "--url", server.url)
    assert code == 1
    assert [found["subject"] for found in answer["found"]] == ["transformer"]
    assert _names(answer) == {"wrong-service"}


def test_nobody_at_the_url_is_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    with RecordedServer().running() as gone:
        url = gone.url
    assert main(["doctor", "--url", url]) == 2
    assert "check --url" in capsys.readouterr().err
