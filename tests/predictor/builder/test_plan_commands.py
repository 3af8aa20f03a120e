from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from cli.__main__ import main
from predictor import tensorrt_api
from predictor.builder import plan_commands
from predictor.builder.release.show import describe, print_table
from predictor.plan import plan_path, write_plan
from tests.predictor.test_plan import make_plan


def run(*arguments: str) -> int:
    return main(["release", *arguments])


def add_plan(release: Path, **changes: object) -> None:
    plan = make_plan(**changes)
    (release / "plans").mkdir(exist_ok=True)
    plan_path(release, plan.key).write_bytes(bytes(plan.nbytes))
    write_plan(release, plan)


@pytest.fixture
def release(random_release_dir: Path, tmp_path: Path) -> Path:
    """A release whose plans are its own."""
    for path in random_release_dir.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_without_tensorrt_there_is_one_line_and_exit_code_1(
    release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorrt_api, "_missing", "No module named 'tensorrt'")
    assert run("plan", str(release), "--precision", "fp16") == 1
    assert capsys.readouterr().err == (
        "yiwen release plan: TensorRT is not installed (No module named 'tensorrt'): "
        "pip install '.[tensorrt]' in a checkout of Yiwen\n"
    )
    assert not (release / "plans").exists()


def test_int8_without_the_builders_packages_is_one_line_before_any_work(
    release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        plan_commands, "find_spec", lambda name: None if name == "sacrebleu" else find_spec(name)
    )
    assert run("plan", str(release), "--precision", "int8") == 1
    assert capsys.readouterr().err == (
        "yiwen release plan: sacrebleu: not installed here, but needed: pip install '.[cpu]' in a checkout of Yiwen\n"
    )


@pytest.mark.parametrize("wrong", [["--max-tokens", "0"], ["--level", "6"], ["--precision", "int4"]])
def test_arguments_out_of_range_are_refused(
    release: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", str(release), *wrong) == 2
    assert wrong[0] in capsys.readouterr().err


def test_show_lists_plans_and_tells_a_foreign_one(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = str(describe(release)["id"])
    add_plan(release, release_id=own)
    assert run("show", str(release), "--json") == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    assert plan == {
        "name": "sm90-132sm-trt8.6.0-float16",
        "gpu": "NVIDIA H200",
        "bytes": 20512,
        "max_tokens": 64,
        "max_rows": 8,
        "built_at": "2026-01-01T00:00:00+00:00",
        "of_this_release": True,
    }
    add_plan(release, release_id="0000000000000000")
    with (console := Console(width=300)).capture() as captured:
        print_table(describe(release), console)
    (line,) = [line for line in captured.get().splitlines() if line.startswith("plan sm90")]
    assert line.endswith("of another release, cannot be served")
