"""An int8 plan from texts to file, all but TensorRT: graphs stand in for engines, and the CPU reference runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.__main__ import main
from predictor.builder import commands as release_commands
from predictor.builder import int8_commands as commands
from predictor.builder.errors import CalibrationFailed, QualityTooLow, TargetUnusable
from predictor.builder.int8 import build as int8_build
from predictor.builder.int8 import quality_report, quantize
from predictor.builder.int8.build import Int8Request, Runners, build_int8_plan, gpu_runners
from predictor.builder.int8.quality import EvaluatedRunner, reference_opener
from predictor.builder.int8.quality_report import QualityGate
from predictor.builder.int8.quantize import CalibrationConfig
from predictor.builder.int8.source import Int8Source
from predictor.builder.plan_commands import PlanOptions
from predictor.builder.plans.build import PlanRequest
from predictor.builder.plans.source import Block, PlanTensorSpec
from predictor.builder.progress import SilentReporter
from predictor.errors import StartupError
from predictor.plan import PlanKey, TensorRTPlan, find_plans, plan_json_path
from tests.command_options import parse_options
from tests.predictor.builder.int8.plan_runner import plan_candidate
from tests.predictor.builder.plans.graphs_as_engines import AT, GPU, GraphsAsEngines, Spoken, content, stored
from tests.releases import build_random_release

pytestmark = pytest.mark.slow

ANY = QualityGate(0.0, 100.0)
"""Random weights make noise of noise: these tests are about the order of things. The demo's are about quality."""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    build_random_release(tmp_path)
    return tmp_path / "random"


def request(release: Path, *, largest_error: float = 1.0, force: bool = False, **more: object) -> Int8Request:
    calibration = CalibrationConfig(tokens=300, answer_tokens=4, largest_error=largest_error)
    plan = PlanRequest(release, precision="int8", force=force)
    options = {"texts_per_pair": 2, "gate": ANY, **more}
    return Int8Request(plan=plan, calibration=calibration, **options)  # type: ignore[arg-type]


def runners() -> Runners:
    return Runners(
        lambda directory: EvaluatedRunner(reference_opener(directory, threads=1), "reference"), plan_candidate
    )


def build(
    wanted: Int8Request, chosen: Runners | None = None, reporter: SilentReporter | None = None
) -> TensorRTPlan:
    return build_int8_plan(
        wanted,
        GraphsAsEngines(),
        GPU,
        chosen or runners(),
        built_at=AT,
        reporter=reporter or SilentReporter(),
    )


def report(release: Path, name: str) -> dict[str, object]:
    document: dict[str, object] = json.loads((release / "reports" / f"{name}.json").read_text())
    return document


def test_a_plan_is_calibrated_measured_and_published(release: Path) -> None:
    spoken = Spoken()
    plan = build(request(release), reporter=spoken)
    assert find_plans(release) == [plan]
    assert plan.key.name == "sm90-132sm-trt8.6.0-int8"
    assert "layers.0.mlp.down" in plan.quantized
    assert stored(release, plan, "layers.0.mlp.down").dtype == np.int8
    quantization, quality = report(release, "quantization"), report(release, "quality")
    assert quantization["matrices_int8"] == len(plan.quantized) == 9
    assert 0 < quantization["mean_error"] <= quantization["largest_error"] < 0.1  # type: ignore[operator]
    assert (quality["passed"], quality["texts"]) == (True, 4)
    assert quality["runners"] == {"float16": "reference", "int8": "plan"}
    assert any(line.startswith("en to zh: chrF") for line in spoken.lines)
    assert sorted(path.name for path in (release / "plans").iterdir()) == [
        "sm90-132sm-trt8.6.0-int8.plan",
        "sm90-132sm-trt8.6.0-int8.plan.json",
        "timing-sm90-132sm-trt8.6.0.cache",
    ]


def test_matrices_above_the_error_stay_in_float16_and_are_told(release: Path) -> None:
    build(request(release))
    errors = {m["name"]: m["error"] for m in report(release, "quantization")["matrices"]}  # type: ignore[attr-defined]
    bound = float(np.median(list(errors.values())))
    spoken = Spoken()
    plan = build(request(release, largest_error=bound, force=True), reporter=spoken)
    assert set(plan.quantized) == {name for name, error in errors.items() if error <= bound}
    for name in set(errors) - set(plan.quantized):
        assert f"{name} stays in float16: its error in int8 is {errors[name]:.1%}" in spoken.lines
        assert stored(release, plan, name).dtype == np.float16


def test_a_bound_that_leaves_nothing_is_refused(release: Path) -> None:
    with pytest.raises(CalibrationFailed, match=r"no matrix is within --int8-error 1e-06: raise it"):
        build(request(release, largest_error=1e-6))
    assert not (release / "plans").exists()


def test_a_plan_that_fails_the_gate_is_not_published_but_reported(release: Path) -> None:
    with pytest.raises(QualityTooLow, match=r"en to zh: mean \|log-probability error\| is .*, above 0;"):
        build(request(release, gate=QualityGate(0.0, 0.0)))
    assert set(content(release)) == {"timing-sm90-132sm-trt8.6.0.cache"}
    assert report(release, "quality")["passed"] is False


def test_a_plan_that_fails_leaves_the_old_one(release: Path) -> None:
    plan = build(request(release))
    with pytest.raises(QualityTooLow):
        build(request(release, gate=QualityGate(0.0, 0.0), force=True))
    assert find_plans(release) == [plan]


def test_without_a_gate_nothing_is_measured(release: Path) -> None:
    def refuse(directory: Path) -> EvaluatedRunner:
        raise AssertionError(f"{directory} was measured")

    build(request(release, gate=None), replace(runners(), plan=refuse))
    assert len(find_plans(release)) == 1
    assert [path.name for path in (release / "reports").iterdir()] == ["quantization.json"]


def test_a_plan_that_is_there_is_found_before_anything_runs(release: Path) -> None:
    build(request(release))

    def refuse(directory: Path) -> EvaluatedRunner:
        raise AssertionError(f"{directory} was answered with")

    with pytest.raises(TargetUnusable, match="replace it with --force"):
        build(request(release), Runners(refuse, refuse))


def test_one_set_of_scales_gives_the_same_answers_in_the_plan_and_beside_it(release: Path) -> None:
    """The plan's file alone, and the release with the tensors of the source in the place of its own."""
    sources: list[Int8Source] = []

    class Kept(Int8Source):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            sources.append(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(int8_build, "Int8Source", Kept)
        build(request(release))
    in_plan = report(release, "quality")

    def beside(_: Path) -> EvaluatedRunner:
        return EvaluatedRunner(reference_opener(release, threads=1, source=sources[0]), "plan")

    build(request(release, force=True), replace(runners(), plan=beside))
    assert report(release, "quality") == in_plan


class Sabotaged(Int8Source):
    """Scales of layer 1 are half as large again as they should be."""

    def blocks(self, tensor: PlanTensorSpec) -> Iterator[Block]:
        wrong = tensor.name.startswith("layers.1.") and tensor.name.endswith(".output_scale")
        for block in super().blocks(tensor):
            yield (block * np.float32(1.5)).astype(np.float32) if wrong else block


def test_wrong_scales_in_one_layer_show(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(request(release))
    good = report(release, "quality")["largest_logprob_error"]
    monkeypatch.setattr(int8_build, "Int8Source", Sabotaged)
    gate = QualityGate(0.0, 2 * float(good))  # type: ignore[arg-type]
    with pytest.raises(QualityTooLow, match=r"(en to zh|zh to en): mean \|log-probability error\|"):
        build(request(release, force=True, gate=gate))


def test_float16_runs_on_the_gpu_where_it_has_a_plan(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, spoken, seen = PlanKey((9, 0), 132, "8.6.0", "float16"), Spoken(), []

    def no_gpu(config: object, directory: Path, _: object) -> None:
        seen.append((config.plan_precision, directory))  # type: ignore[attr-defined]
        raise StartupError("there is no GPU")

    monkeypatch.setattr(int8_build, "create_tensorrt_runner", no_gpu)
    on_gpu = gpu_runners(key, spoken, threads=1)
    assert on_gpu.float16(release).kind == "reference"
    assert "yiwen release plan" in spoken.lines[0]
    (release / "plans").mkdir()
    plan_json_path(release, key).write_text("{}")
    for candidate in (on_gpu.float16(release), on_gpu.plan(release)):
        assert candidate.kind == "tensorrt"
        with pytest.raises(StartupError):
            candidate.open()
    assert seen == [("float16", release), ("int8", release)]


def parsed(*arguments: str) -> PlanOptions:
    return parse_options(release_commands.app, PlanOptions, "plan", "release", *arguments)


def test_options_have_the_defaults_of_the_builder() -> None:
    wanted = commands.int8_request(parsed(), PlanRequest(Path("release")), threads=3)
    assert wanted == Int8Request(PlanRequest(Path("release")), CalibrationConfig(threads=3))
    assert commands.GATE_CHRF == quality_report.GATE_CHRF
    assert commands.LARGEST_ERROR == quantize.LARGEST_ERROR


def test_arguments_say_what_is_wanted() -> None:
    options = "--calibration a.tsv --calibration-tokens 256 --calibration-answers 5 --int8-error 0.2"
    gate = "--gate-texts 7 --gate-chrf 91.5 --gate-logprob 0.3"
    plan = PlanRequest(Path("release"))
    wanted = Int8Request(plan, CalibrationConfig(256, 5, 0.2, 3), Path("a.tsv"), 7, QualityGate(91.5, 0.3))
    found = parsed(*options.split(), *gate.split())
    assert commands.int8_request(found, plan, threads=3) == wanted
    assert commands.int8_request(parsed("--no-gate"), plan, threads=3).gate is None


@pytest.mark.parametrize(
    "wrong", [["--calibration-tokens", "0"], ["--gate-chrf", "-1"], ["--int8-error", "nan"]]
)
def test_arguments_out_of_range_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "plan", "release", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err


def test_too_low_a_quality_is_exit_code_1_and_a_runner_that_fails_an_error(
    release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--calibration-tokens 300 --calibration-answers 4 --int8-error 1 --gate-texts 2 --gate-logprob 0"
    )
    arguments, plan = parsed(*options.split()), PlanRequest(release, precision="int8")
    monkeypatch.setattr(int8_build, "gpu_runners", lambda *_, **__: runners())
    assert commands.run_int8(arguments, plan, GraphsAsEngines(), GPU, SilentReporter()) is None
    assert "yiwen release plan: int8 is too far from float16: en to zh: " in capsys.readouterr().err
    (release / "segments" / "down.onnx").write_bytes(b"no graph")
    with pytest.raises(CalibrationFailed, match="the release cannot be run: ONNX Runtime"):
        commands.run_int8(arguments, plan, GraphsAsEngines(), GPU, SilentReporter())
