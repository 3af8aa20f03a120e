"""Figures and judgement of the quality gate; runners that answer are in ``test_build``."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictor.builder.errors import QualityTooLow
from predictor.builder.int8.greedy import GreedyOutput, generate_greedily
from predictor.builder.int8.prompts import PromptSplit, encode_prompt
from predictor.builder.int8.quality import Baseline, EvaluatedRunner, check_quality, measure_quality
from predictor.builder.int8.quality_report import (
    QUALITY_FILE,
    Estimate,
    PairQuality,
    QualityGate,
    QualityReport,
    bootstrap,
)
from predictor.builder.reports import write_json_report
from protocol.prompt_encoder import PromptEncoder
from protocol.release import load_release
from tests.predictor.builder.plans.graphs_as_engines import AT
from tests.predictor.conftest import HashRunner

GOOD = PairQuality(
    "en", "zh", 20, 200, Estimate(95, 90, 99), Estimate(0.9, 0.8, 1.0), Estimate(0.01, 0.005, 0.02)
)
REPORT = QualityReport(
    "0123456789abcdef", "int8", QualityGate(85, 0.1), (GOOD,), (), "2026-01-01", {}, {"int8": "reference"}
)


def test_the_interval_holds_the_mean_and_narrows_with_more_texts() -> None:
    rng = np.random.default_rng(0)
    few, many = (bootstrap(rng.normal(50, 10, count).tolist(), seed=0) for count in (20, 2000))
    for estimate in (few, many):
        assert estimate.low < estimate.mean < estimate.high
    assert many.high - many.low == pytest.approx(2 * 1.96 * 10 / math.sqrt(2000), rel=0.1)
    assert few.high - few.low > 5 * (many.high - many.low)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap(rng.exponential(1, 60).tolist(), seed=seed) for seed in range(300)]
    assert 0.89 < np.mean([one.low <= 1 <= one.high for one in intervals]) < 0.98


def test_the_same_seed_gives_the_same_interval() -> None:
    values = list(range(9))
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
    assert bootstrap([3.0], seed=0) == Estimate(3, 3, 3)


def test_what_is_good_enough_passes() -> None:
    assert REPORT.passed
    check_quality(REPORT)


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        (
            {"chrf": Estimate(95, 84.9, 99)},
            "chrF against float16 is 95.0, and its 95 % interval begins at 84.9",
        ),
        ({"logprob_error": Estimate(0.11, 0, 1)}, "log-probability error| is 0.1100, above 0.1"),
        ({"logprob_error": Estimate(math.nan, math.nan, math.nan)}, "log-probability error| is nan"),
    ],
)
def test_what_is_not_is_refused_with_pair_and_figure(change: dict[str, Any], figure: str) -> None:
    bad = replace(GOOD, source="zh", target="en", **change)
    report = replace(REPORT, pairs=(GOOD, bad))
    (line,) = report.failures
    assert line.startswith("zh to en: ")
    assert figure in line
    with pytest.raises(QualityTooLow, match=r"int8 is too far from float16: zh to en: .*--int8-error"):
        check_quality(report)


def test_the_document_sums_up_the_pairs(tmp_path: Path) -> None:
    worse = replace(GOOD, source="zh", target="en", exact_match=Estimate(0.5, 0.4, 0.6))
    write_json_report(tmp_path, QUALITY_FILE, replace(REPORT, pairs=(GOOD, worse)).to_json())
    document = json.loads((tmp_path / "reports" / "quality.json").read_text())
    assert (document["passed"], document["failures"], document["texts"]) == (True, [], 40)
    assert (document["lowest_chrf"], document["lowest_exact_match"]) == (95, 0.5)
    assert document["pairs"][1]["source"] == "zh"
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["quality.json"]


def test_answers_are_compared_text_by_text(random_release_dir: Path) -> None:
    """A runner that knows nothing of the release: its answers are compared with themselves, one of them changed."""
    encoder, release = PromptEncoder.load(random_release_dir), load_release(random_release_dir)
    prompts = [encode_prompt(encoder, ("en", "zh"), text) for text in ("a", "bc", "def", "ghij")]
    split = PromptSplit((), tuple(prompt for prompt in prompts if prompt), ())
    answers = generate_greedily(HashRunner(8), split.gate, release.stop_token_ids)
    other = GreedyOutput(tuple((t + 1) % 50 for t in answers[0].token_ids), answers[0].logprobs)
    closed: list[HashRunner] = []

    class Closing(HashRunner):
        def close(self) -> None:
            closed.append(self)

    report = measure_quality(
        random_release_dir,
        split,
        Baseline((other, *answers[1:]), "hash"),
        EvaluatedRunner(lambda: Closing(3), "hash"),
        precision="int8",
        gate=QualityGate(),
        measured_at=AT,
    )
    (pair,) = report.pairs
    assert len(closed) == 1
    assert (pair.name, pair.texts) == ("en to zh", 4)
    assert pair.exact_match.mean == 0.75
    assert 75 <= pair.chrf.mean < 100
    assert pair.tokens == sum(len(answer.token_ids) for answer in answers)
    assert 0 < pair.logprob_error.mean <= 0.25
