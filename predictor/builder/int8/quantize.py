"""Chooses the matrices of a release that are multiplied in int8, and their scales, by calibration on its own texts.

Each matrix is quantized with the parameters of least error on real inputs
(:func:`predictor.builder.int8.smooth.best_smoothing`); matrices whose error exceeds a bound stay in float16. These
are mostly the last matrices of MLPs, whose inputs have the heaviest tails.

Texts: :mod:`predictor.builder.int8.prompts`; inputs: :mod:`predictor.builder.int8.calibrate`; the plan:
:mod:`predictor.builder.int8.source`. The quality of whole answers is measured by
:mod:`predictor.builder.int8.quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from predictor.builder.errors import CalibrationFailed
from predictor.builder.int8.calibrate import InputStatistics, Tokens, collect_input_statistics
from predictor.builder.int8.greedy import generate_greedily
from predictor.builder.int8.prompts import Prompt
from predictor.builder.int8.smooth import Float32s, Matrix, Smoothing, best_smoothing, column_maxima
from predictor.builder.int8.source import BLOCK_VALUES, matrix_roles, stored_matrix
from predictor.builder.progress import Reporter
from predictor.runners.base import Runner
from predictor.segment_index import map_tensor, read_segment_index

CALIBRATION_TOKENS = 2048
ANSWER_TOKENS = 32
LARGEST_ERROR = 0.05
SAMPLED_OUTPUTS = 128
"""Rows of a matrix with which its error is measured; rows are quantized independently, so a sample is enough."""

QUANTIZATION_FILE = "quantization.json"
QUANTIZATION_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """Parameters of the calibration."""

    tokens: int = CALIBRATION_TOKENS
    """Maximum number of tokens of prompts and answers; at least one text is used."""
    answer_tokens: int = ANSWER_TOKENS
    """Maximum number of tokens generated per text."""
    largest_error: float = LARGEST_ERROR
    """Largest relative error of a product in int8; a matrix with more stays in float16."""
    threads: int = 1
    seed: int = 0
    """Of the sample of inputs with which errors are measured."""


@dataclass(frozen=True, slots=True)
class MatrixReport:
    """The precision chosen for one matrix."""

    name: str
    role: str
    dtype: str
    """int8, or float16 where the error was too large."""
    error: float
    """Of its product in int8."""
    alpha: float
    clip: float


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """The quantization of a release."""

    input_scales: Mapping[str, Float32s]
    """float32 [K] of each matrix in int8."""
    matrices: tuple[MatrixReport, ...]
    texts: int
    tokens: int
    """Number of tokens used for calibration."""
    request: CalibrationConfig

    def to_json(self) -> dict[str, Any]:
        """``reports/quantization.json``."""
        in_int8 = [matrix.error for matrix in self.matrices if matrix.dtype == "int8"]
        return {
            "schema": QUANTIZATION_SCHEMA,
            "calibration_texts": self.texts,
            "calibration_tokens": self.tokens,
            "matrices_int8": len(in_int8),
            "matrices_float16": len(self.matrices) - len(in_int8),
            "largest_error_allowed": self.request.largest_error,
            "largest_error": max(in_int8),
            "mean_error": float(np.mean(in_int8)),
            "matrices": [asdict(matrix) for matrix in self.matrices],
        }


def calibration_sequences(
    runner: Runner, prompts: Sequence[Prompt], stops: Sequence[int], request: CalibrationConfig
) -> list[Tokens]:
    """Prompts followed by the runner's answers, as many as fit into the configured number of tokens.

    Args:
        runner: with nothing in flight.
        prompts: to choose from, in order.
        stops: tokens that end an answer.
        request: the limits.

    Raises:
        RunnerError: a step failed.
    """
    chosen: list[Prompt] = []
    remaining = request.tokens
    for prompt in prompts:
        remaining -= len(prompt.token_ids) + min(prompt.max_new_tokens, request.answer_tokens)
        if remaining < 0 and chosen:
            break
        chosen.append(prompt)
    answers = generate_greedily(runner, chosen, stops, max_tokens=request.answer_tokens)
    # The model never reads the last token of an answer.
    return [
        (*prompt.token_ids, *answer.token_ids[:-1]) for prompt, answer in zip(chosen, answers, strict=True)
    ]


def quantize_release(
    directory: Path, sequences: Sequence[Tokens], request: CalibrationConfig, reporter: Reporter
) -> QuantizationResult:
    """Choose the matrices in int8 and their scales.

    Args:
        directory: of a release in float16 or float32.
        sequences: of :func:`calibration_sequences`.
        request: parameters of the calibration.
        reporter: told which matrices stay in float16.

    Raises:
        ReleaseError, StartupError: the release cannot be run.
        CalibrationFailed: activations are not finite, or no matrix is within the bound.
    """
    tokens = sum(map(len, sequences))
    reporter.info(f"calibrating with {len(sequences)} texts, {tokens} tokens")
    observed = collect_input_statistics(directory, sequences, threads=request.threads, seed=request.seed)
    index = read_segment_index(directory)
    roles = matrix_roles(index)

    def smooth(name: str) -> Smoothing:
        return _smoothing(map_tensor(directory, stored_matrix(index, name)), observed.pop(name))

    with ThreadPoolExecutor(request.threads) as pool:
        smoothings = dict(zip(roles, pool.map(smooth, roles), strict=True))
    kept = {name for name, one in smoothings.items() if one.error <= request.largest_error}
    for name in sorted(set(roles) - kept):
        reporter.info(f"{name} stays in float16: its error in int8 is {smoothings[name].error:.1%}")
    if not kept:
        raise CalibrationFailed(
            f"no matrix is within --int8-error {request.largest_error:g}: raise it, or use --precision float16"
        )
    return QuantizationResult(
        input_scales={name: smoothings[name].input_scale for name in roles if name in kept},
        matrices=tuple(
            MatrixReport(name, role, "int8" if name in kept else "float16", one.error, one.alpha, one.clip)
            for (name, role), one in zip(roles.items(), smoothings.values(), strict=True)
        ),
        texts=len(sequences),
        tokens=tokens,
        request=request,
    )


def _smoothing(weights: Matrix, inputs: InputStatistics) -> Smoothing:
    rows, width = weights.shape
    step = max(1, BLOCK_VALUES // width)
    columns = np.zeros(width, np.float32)
    for first in range(0, rows, step):
        np.maximum(columns, column_maxima(weights[first : first + step]), out=columns)
    sampled = np.unique(np.linspace(0, rows - 1, SAMPLED_OUTPUTS).astype(np.int64))
    return best_smoothing(inputs.rows, inputs.largest, weights[sampled].astype(np.float32), columns)
