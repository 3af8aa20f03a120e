"""Builds int8 and int4 weights that are calibrated on texts, or measured on them.

The checkpoint is first built in float16, beside the target, and answers texts on ONNX Runtime. Half of the
texts are for calibration (:mod:`predictor.builder.quantized.inputs`). The quantized release follows float16's
answers to the others, which ``reports/precision.json`` reports (:mod:`predictor.builder.quantized.precision_report`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from predictor.builder.errors import CalibrationFailed, PrecisionUnavailable
from predictor.builder.int8.calibrate import Tokens, observe_inputs
from predictor.builder.int8.greedy import generate_greedily
from predictor.builder.int8.prompts import Prompt, split_prompts
from predictor.builder.int8.quantize import CalibrationConfig, calibration_sequences
from predictor.builder.progress import Reporter
from predictor.builder.quantized.inputs import CompensatingQuantizer, RecordedInputs
from predictor.builder.quantized.precision_report import (
    PRECISION_FILE,
    PrecisionReport,
    measure_precision,
    summary,
)
from predictor.builder.release.build import BuildRequest, Quantization, build_release
from predictor.builder.release.staging import check_target, scratch_directory
from predictor.builder.reports import write_json_report
from predictor.builder.verify.compare import ReleaseGenerator
from predictor.builder.verify.following import follow_answers
from predictor.errors import PredictorError
from predictor.runners.base import Runner
from protocol.prompt_encoder import PromptEncoder
from protocol.release import Release, load_release

SLOTS = 16
"""Texts that float16 answers at a time."""
TEXTS_PER_PAIR = 32
MEASURED_TEXTS = 64


@dataclass(frozen=True, slots=True)
class MeasuredRequest:
    """A build that is calibrated or measured."""

    build: BuildRequest
    compensate: bool
    """Whether errors of 4 bits are made up for."""
    texts: Path | None
    """To calibrate and measure with; None: the built-in samples."""
    calibration: CalibrationConfig


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What float16 answered to texts that nothing is calibrated with."""

    prompts: list[np.ndarray]
    answers: list[np.ndarray]


def build_measured(
    request: MeasuredRequest, *, built_at: datetime, reporter: Reporter
) -> tuple[Release, PrecisionReport]:
    """Build the release and ``reports/precision.json``.

    Args:
        request: what to build, and how.
        built_at: for provenance and report.
        reporter: of the progress.

    Raises:
        BuildError: see :mod:`predictor.builder.errors`.
        ReleaseError: translation.json breaks a rule.
    """
    _check(request)
    target = request.build.out.absolute()
    check_target(target, force=request.build.force)
    try:
        with scratch_directory(target) as scratch:
            return _build(request, scratch, built_at, reporter)
    except PredictorError as error:
        raise CalibrationFailed(f"the model cannot be run in float16: {error}") from error


def _check(request: MeasuredRequest) -> None:
    precision = request.build.precision
    if precision not in ("int8", "int4"):
        raise PrecisionUnavailable(
            f"{precision} is not quantized: there is nothing to calibrate or to measure"
        )
    if request.compensate and precision != "int4":
        raise PrecisionUnavailable(
            "--compensate is for int4-weights: int8's error is that of the activations"
        )


def _build(
    request: MeasuredRequest, scratch: Path, built_at: datetime, reporter: Reporter
) -> tuple[Release, PrecisionReport]:
    base = scratch / "float16"
    plain = replace(
        request.build, out=base, precision="float16", block_size=None, float_activations=False, force=False
    )
    build_release(plain, built_at=built_at, reporter=reporter)
    sequences, baseline = _answer(base, request, reporter)
    quantization = Quantization()
    if request.compensate:
        inputs = scratch / "inputs"
        inputs.mkdir()
        quantization = _calibrate(base, inputs, sequences, request.calibration.threads, reporter)
    release = build_release(request.build, built_at=built_at, reporter=reporter, quantization=quantization)
    report = _measure(base, request.build.out, baseline, request.calibration.threads, built_at)
    write_json_report(request.build.out, PRECISION_FILE, report.to_json())
    for line in summary(report):
        reporter.info(line)
    return release, report


def _answer(base: Path, request: MeasuredRequest, reporter: Reporter) -> tuple[list[Tokens], _Baseline]:
    """Sequences to calibrate with, and answers to measure with."""
    release, limits = load_release(base), request.calibration
    split = split_prompts(PromptEncoder.load(base), request.texts, per_pair=TEXTS_PER_PAIR)
    gate = split.gate[:: -(-len(split.gate) // MEASURED_TEXTS)]
    reporter.info(f"answering {len(gate)} texts in float16 on the CPU")
    runner = _open(base, limits.threads)
    try:
        answers = generate_greedily(runner, gate, release.stop_token_ids, max_tokens=limits.answer_tokens)
        sequences: list[Tokens] = []
        if request.compensate:
            sequences = calibration_sequences(runner, split.calibration, release.stop_token_ids, limits)
    finally:
        runner.close()
    return sequences, _Baseline(
        [_ids(prompt) for prompt in gate], [_array(each.token_ids) for each in answers]
    )


def _calibrate(
    base: Path, directory: Path, sequences: Sequence[Tokens], threads: int, reporter: Reporter
) -> Quantization:
    tokens = sum(map(len, sequences))
    reporter.info(f"calibrating with {len(sequences)} texts, {tokens} tokens")
    inputs = RecordedInputs(directory)
    observe_inputs(base, sequences, inputs, threads=threads)
    digest = hashlib.sha256(repr(sequences).encode()).hexdigest()[:16]
    calibration: dict[str, str | int] = {
        "compensated": "LDLQ",
        "calibration_tokens": tokens,
        "calibration_sha256": digest,
    }
    return Quantization(CompensatingQuantizer(inputs), calibration)


def _measure(
    base: Path, directory: Path, baseline: _Baseline, threads: int, measured_at: datetime
) -> PrecisionReport:
    """Follow float16's answers with both releases."""
    runner = _open(base, threads)
    try:
        wanted = follow_answers(runner, baseline.prompts, baseline.answers)
    finally:
        runner.close()
    found = ReleaseGenerator(directory, threads=threads).follow(baseline.prompts, baseline.answers)
    return measure_precision(load_release(directory), wanted, found, measured_at=measured_at)


def _open(directory: Path, threads: int) -> Runner:
    from predictor.runners.onnx_runtime import OnnxRuntimeRunner

    return OnnxRuntimeRunner(directory, load_release(directory), slots=SLOTS, threads=threads, spin=False)


def _ids(prompt: Prompt) -> np.ndarray:
    return _array(prompt.token_ids)


def _array(tokens: Tokens) -> np.ndarray:
    return np.array(tokens, np.int64)
