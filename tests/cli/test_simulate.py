"""The command from its options to its table, JSON and PNG."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.knative.profiles import profile
from tests.knative.simulator.test_scenario_file import MANIFEST

LOAD = "step:from=5,to=60,at=20,seconds=60"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "tiny.json").write_text(json.dumps(profile().to_json()), encoding="utf-8")
    scenario = "name: cached\nmanifest: manifest.yaml\nprofile: tiny.json\ncache: {kind: rate, rate: 0.9}\n"
    (tmp_path / "cached.yaml").write_text(scenario, encoding="utf-8")
    return tmp_path


def test_two_configurations_stand_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--manifest", "manifest.yaml", "--profile", "tiny.json", "--name", "plain", "--slices", "6"]
    outputs = ["--json", "out.json", "--png", "out.png", "--timeline", "--live", "--compare", "cached.yaml"]
    assert main(["simulate", LOAD, *options, *outputs, "--chars", "30", "--price", "2"]) == 0
    shown = capsys.readouterr().out
    assert "plain" in shown
    assert "cached" in shown
    assert "pods ready" in shown
    document = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    plain, cached = (run["summary"] for run in document["runs"])
    assert plain["requests"] == cached["requests"]
    assert plain["hits"] == 0
    assert cached["hits"] == pytest.approx(0.9 * cached["requests"], rel=0.05)
    assert len(document["runs"][0]["timeline"]) >= 60
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_equal_commands_write_equal_files(folder: Path) -> None:
    for name in ("one.json", "two.json"):
        assert main(["simulate", LOAD, "--scenario", "cached.yaml", "--json", name]) == 0
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()


def test_a_log_is_simulated_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "log.csv").write_text("time,chars\n0,20\n1,20\n120,40\n", encoding="utf-8")
    assert main(["simulate", "log.csv", "--manifest", "manifest.yaml", "--profile", "tiny.json"]) == 0
    assert "100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.csv", "--scenario", "cached.yaml"], "none.csv does not exist"),
        ([LOAD], "options.manifest is missing"),
        ([LOAD, "--scenario", "cached.yaml", "--slots", "2"], "slots is given beside --scenario"),
        ([LOAD, "--manifest", "manifest.yaml", "--profile", "tiny.json", "--zipf", "many"], "--zipf must be"),
        ([LOAD, "--scenario", "none.yaml"], "none.yaml does not exist"),
    ],
)
def test_what_cannot_be_simulated_ends_with_2_and_says_why(
    folder: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *options]) == 2
    assert message in capsys.readouterr().err
