"""`yiwen release evaluate` with the demo model, which really translates."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.predictor.builder.checkpoints import build

DEMO = Path(__file__).parents[4] / "examples" / "demo_model"
SET = DEMO / "heldout.tsv"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo model in float32 and in int4."""
    directory = tmp_path_factory.mktemp("evaluate")
    for precision in ("float32", "int4"):
        build(DEMO / "checkpoint", directory / precision, precision)
    return directory / "float32", directory / "int4"


def evaluate(*arguments: object) -> int:
    return main(["release", "evaluate", *map(str, arguments)])


def test_two_releases_are_compared(
    releases: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "answers.jsonl"
    assert evaluate(*releases, "--set", SET, "--limit", 60, "--batch", 20, "--json", "-o", answers) == 0
    document = json.loads(capsys.readouterr().out)
    assert [release["precision"] for release in document["releases"]] == ["float32", "int4"]
    (pair,) = document["pairs"]
    assert (pair["source"], pair["target"], pair["texts"], pair["refused"]) == ("en", "zh", 60, 0)
    exact, coarse = (release["scores"] for release in pair["releases"])
    assert exact["chrF++"]["score"] > 90
    assert "tok:zh" in pair["signatures"]["BLEU"]
    for metric in ("chrF++", "BLEU"):
        difference = coarse[metric]["score"] - exact[metric]["score"]
        assert coarse[metric]["difference"] == pytest.approx(difference)
        assert coarse[metric]["real"] == (coarse[metric]["p_value"] < 0.05)
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    assert sum(row["answers"][0] == row["references"][0] for row in rows) > 50


def test_a_release_alone_gives_a_table(
    releases: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "set.tsv"
    long_text = "clogs " * 200
    path.write_text(f"en\tzh\tOrange\t橙色\nen\tzh\t{long_text}\tx\nen\tsw\tOrange\tx\n", encoding="utf-8")
    assert evaluate(releases[0], "--set", path) == 0
    out = capsys.readouterr().out
    assert "en to zh  1      checkpoint" in out
    assert "1 texts are refused" in out
    assert "left out, not translated here: en to sw (1)" in out
    assert "second release" not in out


def test_a_directory_of_flores_gives_both_directions(
    releases: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "eng_Latn.dev").write_text("Orange\n", encoding="utf-8")
    (tmp_path / "zho_Hans.dev").write_text("橙色\n", encoding="utf-8")
    copy = tmp_path.rename(tmp_path.with_name("dev"))
    assert evaluate(releases[0], "--set", f"flores:{copy}") == 0
    out = capsys.readouterr().out
    assert "en to zh  1 " in out
    assert "zh to en  1 " in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "no/such.tsv"], "no/such.tsv is no file"),
        (["--set", "flores"], "flores:DIR"),
        (["--set", SET, "--pairs", "en-sw"], "--pairs en-sw: the release translates en-zh, zh-en"),
        (["--set", SET, "--pairs", "zh-en"], "the set translates en to zh, and nothing of zh to en"),
        (["--set", SET, "--comet", "m", "--comet-program", "/no/comet-score"], "environment of its own"),
    ],
)
def test_faults_are_one_line_and_code_2(
    releases: tuple[Path, Path], options: list[object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(releases[0], *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


COMET_SCORE = """#!/usr/bin/env python3
# Writes what comet-score of unbabel-comet 2.2 writes; a translation's score is its share of the reference's letters.
import argparse, json, os, sys
parser = argparse.ArgumentParser()
for name in ("-s", "-r", "--model", "--to_json"):
    parser.add_argument(name)
parser.add_argument("-t", nargs="*")
parser.add_argument("--quiet", action="store_true")
parser.add_argument("--only_system", action="store_true")
given = parser.parse_args()
if given.model == "Unbabel/absent" and os.environ.get("HF_HUB_OFFLINE") == "1":
    sys.exit("KeyError: Model 'Unbabel/absent' not supported by COMET.")
read = lambda path: open(path, encoding="utf-8").read().splitlines()
document = {}
for path in given.t:
    rows = zip(read(given.s), read(path), read(given.r), strict=True)
    document[path] = [
        {"src": src, "mt": mt, "ref": ref, "COMET": len(set(mt) & set(ref)) / len(set(ref))} for src, mt, ref in rows
    ]
json.dump(document, open(given.to_json, "w"))
"""


def test_comet_is_run_as_a_program_that_fetches_nothing_unasked(
    releases: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "comet-score"
    program.write_text(COMET_SCORE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    common = (releases[0], "--set", SET, "--limit", 10, "--comet-program", program, "--json")
    assert evaluate(*common, "--comet", "Unbabel/present") == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert 0.8 < pair["releases"][0]["scores"]["COMET"]["score"] <= 1
    assert evaluate(*common, "--comet", "Unbabel/absent") == 2
    assert (
        "not supported by COMET.; if the model is not on this machine, add --download"
        in capsys.readouterr().err
    )
    assert evaluate(*common, "--comet", "Unbabel/absent", "--download") == 0
