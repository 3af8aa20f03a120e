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
    assert (report["next_token_agreement"], report["followed"]) == (1.0, "generated tokens")
    assert 0 <= report["kl_nats"] < 1e-6
    assert report["nats_per_token"] == pytest.approx(report["reference_nats_per_token"], abs=1e-4)
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


def test_verify_follows_the_references_of_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = Path(__file__).parents[2] / "examples" / "demo_model"
    options = ("--checkpoint", demo / "checkpoint", "--set", demo / "heldout.tsv", "--limit", 8, "--json")
    reports = {}
    for precision in ("float32", "int4-weights"):
        release = tmp_path / precision
        assert run("build", demo / "checkpoint", "--output", release, "--precision", precision) == 0
        capsys.readouterr()
        assert run("verify", release, *options) == 0
        reports[precision] = json.loads(capsys.readouterr().out)
    exact, coarse = reports["float32"], reports["int4-weights"]
    assert exact["followed"] == coarse["followed"] == "references"
    assert exact["prompts"] == 8
    assert (exact["tokens"], exact["reference_nats_per_token"]) == (
        coarse["tokens"],
        coarse["reference_nats_per_token"],
    )
    assert exact["next_token_agreement"] == 1.0
    assert 0 <= exact["kl_nats"] < coarse["kl_nats"]
    assert exact["nats_per_token"] == pytest.approx(exact["reference_nats_per_token"], abs=1e-3)
    assert run("verify", tmp_path / "float32", "--set", demo / "heldout.tsv") == 2
    assert "name the checkpoint too" in capsys.readouterr().err
