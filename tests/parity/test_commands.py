from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.__main__ import main
from predictor.builder.verify import parity_report
from tests.parity.models import save_model
from tests.predictor.builder.checkpoint.test_lora import Q, write_adapter


def run(*arguments: object) -> int:
    return main(["release", *map(str, arguments)])


def test_verify_with_a_checkpoint_writes_a_report_and_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, release = save_model(tmp_path / "model", "Qwen2", num_key_value_heads=2), tmp_path / "release"
    (tmp_path / "texts.txt").write_text("a text\nand another one, a little longer\n")
    options = ("--checkpoint", checkpoint, "--prompts", 3, "--tokens", 5, "--texts", tmp_path / "texts.txt")
    assert run("build", checkpoint, "--output", release) == 0

    assert run("verify", release, *options) == 0

    report = json.loads((release / "reports" / "parity.json").read_text())
    assert (report["prompts"], report["tokens"], report["equal_tokens"]) == (5, 25, 25)
    assert report["passed"]
    assert set(report["versions"]) == {"numpy", "onnxruntime", "torch", "transformers"}
    assert "25 (100.00%)" in capsys.readouterr().out
    assert run("verify", release) == 0

    monkeypatch.setattr(parity_report, "LOGPROB_TOLERANCES", {"float32": 0.0})
    assert run("verify", release, *options) == 1
    assert not json.loads((release / "reports" / "parity.json").read_text())["passed"]


def test_a_release_with_an_adapter_is_verified_with_it(tmp_path: Path) -> None:
    checkpoint, release = save_model(tmp_path / "model", "Qwen2", num_key_value_heads=2), tmp_path / "release"
    adapter = write_adapter(checkpoint, tmp_path / "adapter", Q)
    assert run("build", checkpoint, "--output", release, "--adapter", adapter) == 0
    options = ("--checkpoint", checkpoint, "--adapter", adapter, "--prompts", 2, "--tokens", 5)
    assert run("verify", release, *options) == 0
