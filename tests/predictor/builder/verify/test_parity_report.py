from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from predictor.builder.verify.parity_report import Disagreement, ParityReport, print_report, write_report

REPORT = ParityReport(
    release="0123456789abcdef",
    precision="float32",
    prompts=2,
    tokens=10,
    equal_tokens=10,
    ties=0,
    max_logprob_difference=1e-5,
    mean_logprob_difference=1e-6,
    first_disagreement=None,
    kl_nats=2e-7,
    nats_per_token=1.25,
    reference_nats_per_token=1.2,
    followed="references",
    versions={"numpy": "2"},
    measured_at="2026-01-01T00:00:00+00:00",
)


def test_float32_promises_equal_tokens_and_close_log_probabilities() -> None:
    assert REPORT.passed
    assert not dataclasses.replace(REPORT, equal_tokens=9).passed
    assert not dataclasses.replace(REPORT, max_logprob_difference=2e-3).passed


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantized_weights_promise_nothing(precision: str) -> None:
    report = dataclasses.replace(REPORT, precision=precision, equal_tokens=0, max_logprob_difference=9.0)
    assert report.passed
    assert report.to_json()["logprob_tolerance"] is None


def test_report_replaces_the_one_before(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path)
    path = write_report(dataclasses.replace(REPORT, prompts=3), tmp_path)
    assert json.loads(path.read_text())["prompts"] == 3
    assert list(path.parent.iterdir()) == [path]


def test_table_shows_the_first_disagreement() -> None:
    console = Console(record=True, width=100)
    failed = dataclasses.replace(REPORT, equal_tokens=9, first_disagreement=Disagreement(1, 4, 0.25))
    print_report(failed, console)
    text = console.export_text()
    assert "prompt 1, token 4, margin 2.50e-01" in text
    assert "FAILED" in text
    assert "9 (90.00%)" in text
    assert "1.2500, float32 1.2000 (+0.0500)" in text
    assert "following references" in text


def test_json_has_the_share_of_equal_tokens() -> None:
    assert dataclasses.replace(REPORT, equal_tokens=9).to_json()["next_token_agreement"] == 0.9
