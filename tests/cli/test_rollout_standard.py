"""`yiwen rollout` in Standard mode against an API server over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import rollout_standard
from cli.__main__ import main
from tests.http_servers import write_kubeconfig
from tests.inferenceservices.standard_api_server import StandardApiServer
from tests.inferenceservices.standard_kserve import CANARY, NAME, StandardKServe


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandardApiServer]:
    server = StandardApiServer(StandardKServe())
    write_kubeconfig(tmp_path / "kubeconfig", server.address)
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )
    monkeypatch.setattr(rollout_standard, "POLL_S", 0.01)
    with server.running():
        yield server


def rollout(command: str, *words: str) -> int:
    return main(["rollout", command, NAME, "-n", "demo", *words])


def test_the_commands_of_the_guide(server: StandardApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    kserve = server.kserve
    assert rollout("set", "--percent", "10", "--release", "b") == 0
    assert kserve.shares == {"a": 90, "b": 10}
    assert rollout("set", "--percent", "50") == 0
    capsys.readouterr()
    assert rollout("status", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["revisions"]
    shown = [
        (row["component"], row["revision"], row["release"], row["traffic"], row["ready"]) for row in rows
    ]
    assert shown == [
        (component, *row)
        for component in ("predictor", "transformer")
        for row in ((NAME, "a", "50 %", "yes"), (CANARY, "b", "50 %", "yes"))
    ]
    assert rollout("promote") == 0
    assert kserve.shares == {"b": 100}
    assert rollout("rollback") == 0
    assert kserve.shares == {"a": 100}
    assert list(kserve.services) == [NAME]
    (memory,) = server.config_maps
    assert memory == "yiwen-rollout-before"


def test_a_dry_run_changes_nothing(server: StandardApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout("set", "--percent", "10", "--release", "b", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["action"] == "create"
    assert {each.split()[0] for each in server.requests} == {"GET"}


def test_a_wait_that_is_too_long_ends_with_a_hint(
    tmp_path: Path, server: StandardApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.kserve = StandardKServe(starts=lambda release: release != "b")
    assert rollout("set", "--percent", "10", "--release", "b", "--wait", "100ms") == 1
    assert "the same command goes on from here" in capsys.readouterr().out
    assert server.kserve.shares == {"a": 100}


def test_a_wait_that_is_no_duration_is_an_error(
    server: StandardApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rollout("set", "--percent", "10", "--release", "b", "--wait", "long") == 2
    assert '--wait: "long" is not a duration' in capsys.readouterr().err


def test_without_routes_it_says_what_is_missing(
    server: StandardApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.kserve.routes = []
    assert rollout("set", "--percent", "10", "--release", "b") == 1
    assert "component gateway-api" in capsys.readouterr().err
    assert rollout("status") == 0
