"""The demo model in int8, from calibration to the gate, on the CPU reference; titles it was not calibrated with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictor.builder.errors import QualityTooLow
from predictor.builder.int8 import build as int8_build
from predictor.builder.int8.build import Int8Request, Runners, build_int8_plan
from predictor.builder.int8.quality import EvaluatedRunner, reference_opener
from predictor.builder.int8.quality_report import QualityGate
from predictor.builder.int8.source import Int8Source
from predictor.builder.plans.build import PlanRequest
from predictor.builder.plans.source import Block, PlanTensorSpec
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.plan import TensorRTPlan
from predictor.segment_index import LINEAR_ROLES, linear_shape
from protocol.release import load_release
from tests.predictor.builder.int8.plan_runner import plan_candidate
from tests.predictor.builder.plans.graphs_as_engines import GPU, GraphsAsEngines

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo_model"
AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
TITLES = 12
"""Per direction to calibrate with, and as many to measure with."""
GATE = QualityGate(chrf=95, logprob=0.01)
"""Tighter than the default: the model is sure of its titles."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "release"
    request = BuildRequest(DEMO / "checkpoint", out, precision="float16")
    build_release(request, built_at=AT, reporter=SilentReporter())
    return out


@pytest.fixture(scope="module")
def titles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Held-out titles from all over the file, in both directions."""
    lines = (DEMO / "heldout.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines[:: len(lines) // (2 * TITLES)]]
    path = tmp_path_factory.mktemp("titles") / "titles.tsv"
    path.write_text("".join(f"en\tzh\t{en}\nzh\ten\t{zh}\n" for en, zh in rows), encoding="utf-8")
    return path


def build(demo: Path, titles: Path) -> tuple[TensorRTPlan | None, dict[str, Any]]:
    """The plan, if it passed the gate, and the report of its quality."""
    runners = Runners(
        lambda directory: EvaluatedRunner(reference_opener(directory, threads=1), "reference"), plan_candidate
    )
    request = Int8Request(
        PlanRequest(demo, precision="int8", force=True), texts=titles, texts_per_pair=TITLES, gate=GATE
    )
    try:
        plan = build_int8_plan(
            request, GraphsAsEngines(), GPU, runners, built_at=AT, reporter=SilentReporter()
        )
    except QualityTooLow:
        plan = None
    document: dict[str, Any] = json.loads((demo / "reports" / "quality.json").read_text(encoding="utf-8"))
    return plan, document


@dataclass(frozen=True)
class Built:
    plan: TensorRTPlan
    quality: dict[str, Any]
    quantization: dict[str, Any]


@pytest.fixture(scope="module")
def built(demo: Path, titles: Path) -> Built:
    plan, quality = build(demo, titles)
    assert plan is not None, quality["failures"]
    path = demo / "reports" / "quantization.json"
    return Built(plan, quality, json.loads(path.read_text(encoding="utf-8")))


def test_int8_translates_as_float16_does(built: Built) -> None:
    assert len(built.plan.quantized) == 29, "a matrix went back to float16"
    quality = built.quality
    assert [(pair["source"], pair["target"], pair["texts"]) for pair in quality["pairs"]] == [
        ("en", "zh", TITLES),
        ("zh", "en", TITLES),
    ]
    assert quality["lowest_exact_match"] >= 1 - 1 / TITLES  # all of 120 when this was written
    assert quality["lowest_chrf"] >= 97
    assert quality["largest_logprob_error"] < 0.01
    assert built.quantization["largest_error"] < 0.05
    assert built.quantization["mean_error"] < 0.02


def test_int8_weighs_what_it_says(demo: Path, built: Built) -> None:
    """A byte for a weight and two for what is looked up; the tied vocabulary becomes a matrix of its own."""
    nbytes = {name: tensor.nbytes for name, tensor in built.plan.tensors.items()}
    shape = load_release(demo).decoder
    linears = sum(nbytes[name] for name in built.plan.quantized)
    assert linears == sum(
        n * k * (1 if role == "vocabulary" else shape.layers)
        for role, (n, k) in ((role, linear_shape(shape, role)) for role in LINEAR_ROLES)
    )
    assert nbytes["embedding"] == 2 * shape.vocab * shape.hidden
    others = sum(nbytes.values()) - linears - nbytes["embedding"]
    assert others < 0.05 * linears


class Sabotaged(Int8Source):
    """One layer's products count half as much again as they should."""

    def blocks(self, tensor: PlanTensorSpec) -> Iterator[Block]:
        wrong = tensor.name.startswith("layers.3.") and tensor.name.endswith(".output_scale")
        for block in super().blocks(tensor):
            yield (block * np.float32(1.5)).astype(np.float32) if wrong else block


def test_one_layer_with_wrong_scales_fails_the_gate(
    demo: Path, titles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_build, "Int8Source", Sabotaged)
    plan, quality = build(demo, titles)
    assert plan is None
    assert not quality["passed"]
    assert {line.partition(":")[0] for line in quality["failures"]} == {"en to zh", "zh to en"}
