"""The command from its options to its table, JSON and PNG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.__main__ import main
from cli.texts_per_request import parse_texts_per_request
from knative.simulator.errors import SimulationError
from tests.knative.profiles import profile
from tests.knative.simulator.test_scenario_file import MANIFEST

LOAD = "step:from=5,to=60,at=20,seconds=60"
PLAIN = ("--manifest", "manifest.yaml", "--profile", "tiny.json")


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
    outputs = ["-o", "out.json", "--png", "out.png", "--timeline", "--live", "--compare", "cached.yaml"]
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
        assert main(["simulate", LOAD, "--scenario", "cached.yaml", "-o", name]) == 0
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()


def test_a_log_is_simulated_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "log.csv").write_text("time,chars\n0,20\n1,20\n120,40\n", encoding="utf-8")
    assert main(["simulate", "log.csv", "--manifest", "manifest.yaml", "--profile", "tiny.json"]) == 0
    assert "100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.csv", "--scenario", "cached.yaml"], "none.csv does not exist"),
        ([LOAD], "give --manifest"),
        ([LOAD, "--manifest", "manifest.yaml"], "give --profile"),
        ([LOAD, "--scenario", "cached.yaml", "--seed", "-1"], "cached.yaml.seed is -1"),
        ([LOAD, "--scenario", "cached.yaml", "--ttl", "9"], "ttl is given beside --scenario"),
        ([LOAD, *PLAIN, "--ttl", "9"], "--ttl has no effect: give --zipf"),
        ([LOAD, *PLAIN, "--hit-rate", "0.5", "--ttl", "9"], "--ttl has no effect beside --hit-rate"),
        ([LOAD, *PLAIN, "--hit-rate", "0.5", "--zipf", "9:1"], "--zipf has no effect beside --hit-rate"),
        ([LOAD, *PLAIN, "--chars", "0"], "chars must be at least 1"),
        ([LOAD, *PLAIN, "--zipf", "9:1", "--ttl", "0"], "ttl_s must be above 0"),
        ([LOAD, *PLAIN, "--zipf", ""], "--zipf must be"),
        ([LOAD, *PLAIN, "--slo-ms", "nan"], "slo_ms must be a finite number"),
        ([LOAD, *PLAIN, "--lose", "5", "--lose", "61"], "die at second 61, after the end of the trace at 60"),
        ([LOAD, *PLAIN, "--png", "x.foo"], "x.foo would be a PNG"),
        ([LOAD, *PLAIN, "-o", "none/x.json"], "none/x.json cannot be written: make the directory none"),
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


def runs(path: Path) -> list[dict[str, Any]]:
    return [run["summary"] for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]


def test_a_logs_keys_fill_the_cache_unless_an_option_says_otherwise(folder: Path) -> None:
    (folder / "log.csv").write_text("time,key\n0,a\n10,a\n20,a\n", encoding="utf-8")
    for options, hits in (([], 2), (["--ttl", "5"], 0), (["--hit-rate", "0"], 0), (["--hit-rate", "1"], 3)):
        assert main(["simulate", "log.csv", *PLAIN, *options, "-o", "out.json"]) == 0
        assert runs(folder / "out.json")[0]["hits"] == hits


def test_keys_are_of_no_use_without_a_transformer(folder: Path) -> None:
    document = yaml.safe_load(MANIFEST)
    del document["spec"]["transformer"]
    (folder / "manifest.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "log.csv").write_text("time,key\n0,a\n10,a\n", encoding="utf-8")
    assert main(["simulate", "log.csv", *PLAIN]) == 0


def test_four_options_replace_what_the_scenarios_file_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--slo-ms", "50", "--slices", "1", "--price", "3", "--seed", "4"]
    files = ["--scenario", "cached.yaml", "--compare", "cached.yaml"]
    assert main(["simulate", LOAD, *files, "-o", "plain.json"]) == 0
    assert "- (give --price)" in capsys.readouterr().out
    assert main(["simulate", LOAD, *files, *options, "-o", "out.json"]) == 0
    shown = capsys.readouterr().out
    assert "within 50 ms" in shown
    first, second = runs(folder / "out.json")
    assert first["peak_slices"] == 1
    assert first["cost_per_million_chars"] > 0
    assert first["hits"] == second["hits"] != runs(folder / "plain.json")[0]["hits"]
    assert second["cost_per_million_chars"] is None


def test_runs_with_different_objectives_and_revisions_share_a_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "name: two\nmanifest: manifest.yaml\nprofile: tiny.json\nslo_ms: 500\ncanary: {percent: 20}\n"
    (folder / "two.yaml").write_text(text, encoding="utf-8")
    assert main(["simulate", LOAD, *PLAIN, "--compare", "two.yaml", "--timeline"]) == 0
    shown = capsys.readouterr().out
    for words in ("in time", "(800 ms)", "(500 ms)", "stable: P99", "canary: errors", "413", " max "):
        assert words in shown


def test_a_picture_that_fails_leaves_the_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.png").mkdir()
    assert main(["simulate", LOAD, *PLAIN, "-o", "out.json", "--png", "out.png"]) == 2
    assert "requests" in capsys.readouterr().out
    assert runs(folder / "out.json")[0]["requests"] > 0


def test_texts_per_request_is_a_number_or_shares() -> None:
    assert parse_texts_per_request("64") == 64
    assert parse_texts_per_request("1:0.9,64:0.1") == {1: 0.9, 64: 0.1}
    for text in ("many", "1:0.9,", "1:0.5,1:0.5"):
        with pytest.raises(SimulationError, match="--texts-per-request"):
            parse_texts_per_request(text)
