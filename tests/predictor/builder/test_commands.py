from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.__main__ import main
from predictor.builder import commands
from predictor.builder.weights.decoder_matrices import PRECISIONS
from protocol.release import load_release

ROOT = Path(__file__).parents[3]


def run(*arguments: object) -> int:
    return main(["release", *map(str, arguments)])


@pytest.fixture
def release(checkpoint: Path, tmp_path: Path) -> Path:
    out = tmp_path / "release"
    assert run("build", checkpoint, "--output", out, "--precision", "int8-weights", "--name", "my model") == 0
    return out


def test_build_says_what_it_made(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "release"
    assert run("build", checkpoint, "--output", out, "--max-tokens", 200, "--name", "my model") == 0
    release = load_release(out)
    assert f"my model {release.id}, LlamaForCausalLM, float32" in capsys.readouterr().out
    assert release.limits.max_sequence_tokens == 200


def test_expected_error_is_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", tmp_path, "--output", tmp_path / "release") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("yiwen release build: ")
    assert run("show", tmp_path) == 2
    assert run("verify", tmp_path) == 2


def test_without_onnx_a_build_says_what_to_install(checkpoint: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['onnx'] = None\n"
        "from tests.predictor.builder.test_commands import run\n"
        "sys.exit(run('build', *sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, str(checkpoint), "--output", str(tmp_path / "release")]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    wanted = "yiwen release build: onnx is not installed, but needed: pip install '.[cpu]' in a checkout of Yiwen\n"
    assert (done.returncode, done.stderr) == (2, wanted)


@pytest.mark.parametrize("value", ["0", "-5", "many"])
def test_limit_must_be_positive(tmp_path: Path, value: str) -> None:
    assert run("build", tmp_path, "--output", tmp_path / "release", "--max-tokens", value) == 2


def test_verify_checks_files(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", release) == 0
    (release / "translation.json").write_text("{}")
    assert run("verify", release) == 1
    assert "translation.json has changed" in capsys.readouterr().out
    assert run("verify", release, "--json") == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert "translation.json has changed" in fault


def test_show_prints_a_table_or_json(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("show", release, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kv_bytes_per_token"] == 2 * 2 * 32 * 4
    assert document["bytes"]["total"] == sum(document["bytes"]["files"].values())
    assert document["reports"] == {}
    (release / "reports").mkdir()
    (release / "reports" / "parity.json").write_text('{"tokens": 9}')
    (release / "reports" / "quality.json").write_text("{")
    assert run("show", release) == 0
    shown = capsys.readouterr().out
    for text in (document["id"], "my model", "en, zh", "512 bytes per token", "tokens 9", "unreadable"):
        assert text in shown


def test_show_names_a_file_that_is_gone(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "weights.bin").unlink()
    assert run("show", release) == 2
    assert "weights.bin" in capsys.readouterr().err


def test_precisions_offered_are_those_that_are_built() -> None:
    assert list(PRECISIONS) == list(commands.PRECISIONS.values())


def test_mounting_the_commands_loads_nothing_heavy() -> None:
    program = (
        "import sys, predictor.builder.commands;"
        "print([n for n in ('numpy', 'onnx', 'onnxruntime', 'torch', 'rich') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_lengths_are_measured_as_the_demo_release_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = ROOT / "examples" / "demo_model"
    assert run("lengths", demo / "heldout.tsv", "--from", "en", "--to", "zh") == 0
    measured = json.loads(capsys.readouterr().out)["guards"]["lengths"]
    stated = json.loads((demo / "checkpoint" / "translation.json").read_text())["guards"]["lengths"]
    for ours, theirs in zip(measured, stated, strict=True):
        assert (ours["source"], ours["target"]) == (theirs["source"], theirs["target"])
        assert ours["ratio"] == pytest.approx(theirs["ratio"], rel=0.05)
        assert ours["variance"] == pytest.approx(theirs["variance"], rel=0.2)


@pytest.mark.parametrize("content", [b"", b"one\ttwo\n" * 99, b"\xff\n", b"no tabs\n" * 200])
def test_lengths_of_too_few_pairs_are_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "pairs.tsv").write_bytes(content)
    assert run("lengths", tmp_path / "pairs.tsv", "--from", "en", "--to", "zh") == 2
    assert "pairs.tsv" in capsys.readouterr().err
