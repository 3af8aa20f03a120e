"""``yiwen release plan --precision int8``: calibrate, build, and publish what passes the quality gate.

First float16 answers all texts: its answers to some are used for calibration
(:mod:`predictor.builder.int8.quantize`), those to the rest are the reference of the finished plan
(:mod:`predictor.builder.int8.quality`). Between the two lies :func:`predictor.builder.plans.build.build_plan`.

The caller chooses the runners of float16 and of the plan: :func:`gpu_runners`, or the CPU reference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from predictor.builder.int8.prompts import PromptSplit, split_prompts
from predictor.builder.int8.quality import (
    Baseline,
    EvaluatedRunner,
    check_quality,
    measure_baseline,
    measure_quality,
    reference_opener,
)
from predictor.builder.int8.quality_report import QUALITY_FILE, QualityGate, summary
from predictor.builder.int8.quantize import (
    QUANTIZATION_FILE,
    CalibrationConfig,
    calibration_sequences,
    quantize_release,
)
from predictor.builder.int8.source import Int8Source
from predictor.builder.plans.build import PlanRequest, build_plan
from predictor.builder.plans.engines import EngineBuilder, GpuInfo
from predictor.builder.plans.source import PlanSource
from predictor.builder.progress import Reporter
from predictor.builder.reports import write_json_report
from predictor.config import PlanPrecision, PredictorConfig
from predictor.plan import PlanKey, TensorRTPlan, plan_json_path, write_plan
from predictor.runners.base import Runner
from predictor.runners.tensorrt.start.create import create_tensorrt_runner
from protocol.prompt_encoder import PromptEncoder
from protocol.release import PLANS_DIR, load_release

TEXTS_PER_PAIR = 32
"""Maximum number of texts of a language pair for calibration, and of as many for the gate."""
GPU_SLOTS = 64


@dataclass(frozen=True, slots=True)
class Int8Request:
    """Parameters of an int8 plan: what to build, and the quality it must have."""

    plan: PlanRequest
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    texts: Path | None = None
    """A file of texts, see :func:`predictor.builder.int8.prompts.read_texts`; None takes the built-in ones."""
    texts_per_pair: int = TEXTS_PER_PAIR
    gate: QualityGate | None = field(default_factory=QualityGate)
    """None publishes the plan unmeasured."""


@dataclass(frozen=True, slots=True)
class Runners:
    """The runners of the two precisions."""

    float16: Callable[[Path], EvaluatedRunner]
    """Given the release's directory."""
    plan: Callable[[Path], EvaluatedRunner]
    """Given a directory that is the release with the new plan and no other."""


def build_int8_plan(
    request: Int8Request,
    engines: EngineBuilder,
    gpu: GpuInfo,
    runners: Runners,
    *,
    built_at: datetime,
    reporter: Reporter,
) -> TensorRTPlan:
    """Build an int8 plan and write the release's reports about it, whether it passes the gate or not.

    Args:
        request: what to build.
        engines: TensorRT.
        gpu: the current device.
        runners: closed again when this returns.
        built_at: for the plan and the reports.
        reporter: of texts, matrices, engines, bytes and figures.

    Raises:
        QualityTooLow: the plan did not pass the gate and is not published.
        BuildError: see :mod:`predictor.builder.errors`.
        ReleaseError, StartupError, RunnerError: the release cannot be read or run.
    """
    build = _Int8Build(request, runners, built_at, reporter)
    return build_plan(
        request.plan,
        engines,
        gpu,
        built_at=built_at,
        reporter=reporter,
        make_source=build.make_source,
        examine=build.examine if request.gate else None,
    )


class _Int8Build:
    """State of one build between calibration and measurement."""

    def __init__(
        self, request: Int8Request, runners: Runners, built_at: datetime, reporter: Reporter
    ) -> None:
        self._request = request
        self._runners = runners
        self._built_at = built_at
        self._reporter = reporter
        self._measured: tuple[PromptSplit, Baseline] | None = None

    def make_source(self, directory: Path) -> PlanSource:
        """Answer in float16, calibrate, quantize."""
        request, stops = self._request, load_release(directory).stop_token_ids
        split = split_prompts(PromptEncoder.load(directory), request.texts, per_pair=request.texts_per_pair)
        for pair in split.without_texts:
            self._reporter.info(
                f"no texts in {pair[0]}, so {' to '.join(pair)} is not measured: bring --calibration"
            )
        float16 = self._runners.float16(directory)
        self._reporter.info(f"answering texts in float16 ({float16.kind})")
        runner = float16.open()
        try:
            sequences = calibration_sequences(runner, split.calibration, stops, request.calibration)
            if request.gate:
                self._measured = split, measure_baseline(runner, float16.kind, split.gate, stops)
        finally:
            runner.close()
        quantization = quantize_release(directory, sequences, request.calibration, self._reporter)
        write_json_report(directory, QUANTIZATION_FILE, quantization.to_json())
        return Int8Source(directory, quantization.input_scales)

    def examine(self, plan: TensorRTPlan, file: Path) -> None:
        """Measure the finished plan, write the report, and refuse a plan that does not pass."""
        directory, gate = self._request.plan.release, self._request.gate
        if gate is None or self._measured is None:
            raise AssertionError("a plan is examined without a gate")
        split, baseline = self._measured
        with _candidate_release(directory, plan, file) as candidate_directory:
            candidate = self._runners.plan(candidate_directory)
            self._reporter.info(f"measuring {len(split.gate)} answers of the plan ({candidate.kind})")
            report = measure_quality(
                directory,
                split,
                baseline,
                candidate,
                precision=plan.key.precision,
                gate=gate,
                measured_at=self._built_at,
            )
        write_json_report(directory, QUALITY_FILE, report.to_json())
        for line in summary(report):
            self._reporter.info(line)
        check_quality(report)


@contextmanager
def _candidate_release(release: Path, plan: TensorRTPlan, file: Path) -> Iterator[Path]:
    """A temporary directory that shows the release with a plan that is not published yet.

    Args:
        release: the real directory.
        plan: what ``file`` holds.
        file: the plan file.
    """
    release = release.absolute()
    with tempfile.TemporaryDirectory(prefix=".candidate-", dir=release / PLANS_DIR) as name:
        directory = Path(name)
        for path in release.iterdir():
            if path.name != PLANS_DIR:
                (directory / path.name).symlink_to(path)
        (directory / PLANS_DIR).mkdir()
        (directory / PLANS_DIR / f"{plan.key.name}.plan").symlink_to(file.absolute())
        write_plan(directory, plan)
        yield directory


def gpu_runners(key: PlanKey, reporter: Reporter, *, threads: int) -> Runners:
    """Float16 by its plan for the GPU where there is one, else by the CPU reference; the new plan on the GPU.

    Args:
        key: of a float16 plan for this machine.
        reporter: warned where the CPU reference is used.
        threads: of the CPU reference.
    """

    def open_plan(directory: Path, precision: PlanPrecision) -> EvaluatedRunner:
        config = PredictorConfig(
            release=directory, backend="tensorrt", slots=GPU_SLOTS, plan_precision=precision
        )

        def open_it() -> Runner:
            runner, _ = create_tensorrt_runner(config, directory, load_release(directory))
            return runner

        return EvaluatedRunner(open_it, "tensorrt")

    def open_float16(directory: Path) -> EvaluatedRunner:
        if plan_json_path(directory, key).exists():
            return open_plan(directory, "float16")
        reporter.info(
            "no float16 plan for this GPU, so the CPU answers in float16: minutes for a large model. Faster: "
            f"yiwen release plan {directory} --precision float16, then this again"
        )
        return EvaluatedRunner(reference_opener(directory, threads=threads), "reference")

    return Runners(open_float16, lambda directory: open_plan(directory, "int8"))
