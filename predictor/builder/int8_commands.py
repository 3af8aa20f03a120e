"""The arguments of ``release plan --precision int8``, and what they make.

Exit code 1: a plan was built and measured, and is not good enough.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.builder.errors import CalibrationFailed, QualityTooLow
from predictor.errors import PredictorError

if TYPE_CHECKING:
    from predictor.builder.int8.build import Int8Request
    from predictor.builder.plans.build import PlanRequest
    from predictor.builder.plans.engines import EngineBuilder, GpuInfo
    from predictor.builder.progress import Reporter
    from predictor.plan import TensorRTPlan

# Defaults are those of the modules that do the work, which are not imported for a --help.
CALIBRATION_TOKENS = 2048
ANSWER_TOKENS = 32
LARGEST_ERROR = 0.05
TEXTS_PER_PAIR = 32
GATE_CHRF = 80.0
GATE_LOGPROB = 0.1


def add_int8(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group("int8", "calibration, and the quality that a plan must have")
    group.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="texts to calibrate and measure with, one per line: source TAB target TAB text, or the text alone "
        "(default: built-in ones)",
    )
    for option, kind, default, what in (
        ("--calibration-tokens", _positive, CALIBRATION_TOKENS, "most tokens to calibrate with"),
        ("--calibration-answers", _positive, ANSWER_TOKENS, "most tokens generated for each of these texts"),
        (
            "--int8-error",
            _bound,
            LARGEST_ERROR,
            "a matrix whose product has more relative error stays in float16",
        ),
        ("--gate-texts", _positive, TEXTS_PER_PAIR, "most texts of a language pair to measure with"),
        (
            "--gate-chrf",
            _bound,
            GATE_CHRF,
            "least chrF against float16's answers: the 95%% interval's lower end",
        ),
        ("--gate-logprob", _bound, GATE_LOGPROB, "most mean |log-probability error|, in nats"),
    ):
        metavar = "N" if kind is _positive else "X"
        group.add_argument(
            option, type=kind, default=default, metavar=metavar, help=f"{what} (default: %(default)s)"
        )
    group.add_argument("--no-gate", action="store_true", help="publish the plan without measuring it")


def run_int8(
    arguments: argparse.Namespace, plan: PlanRequest, engines: EngineBuilder, gpu: GpuInfo, reporter: Reporter
) -> TensorRTPlan | None:
    """Build the plan; None where it was not good enough, which is said.

    Raises:
        BuildError, ReleaseError: it could not be built or measured.
    """
    from predictor.builder.int8.build import build_int8_plan, gpu_runners
    from predictor.config import usable_cores
    from predictor.plan import PlanKey

    threads = usable_cores()
    key = PlanKey(gpu.compute_capability, gpu.sm_count, engines.version, "float16")
    try:
        return build_int8_plan(
            int8_request(arguments, plan, threads=threads),
            engines,
            gpu,
            gpu_runners(key, reporter, threads=threads),
            built_at=datetime.now(timezone.utc),
            reporter=reporter,
        )
    except QualityTooLow as error:
        print(f"yiwen release plan: {error}", file=sys.stderr)
        return None
    except PredictorError as error:
        raise CalibrationFailed(f"the release cannot be run: {error}") from error


def int8_request(arguments: argparse.Namespace, plan: PlanRequest, *, threads: int) -> Int8Request:
    """What the arguments of :func:`add_int8` ask for."""
    from predictor.builder.int8.build import Int8Request
    from predictor.builder.int8.quality_report import QualityGate
    from predictor.builder.int8.quantize import CalibrationConfig

    return Int8Request(
        plan=plan,
        calibration=CalibrationConfig(
            tokens=arguments.calibration_tokens,
            answer_tokens=arguments.calibration_answers,
            largest_error=arguments.int8_error,
            threads=threads,
        ),
        texts=arguments.calibration,
        texts_per_pair=arguments.gate_texts,
        gate=None if arguments.no_gate else QualityGate(arguments.gate_chrf, arguments.gate_logprob),
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"{value} is not positive")
    return value


def _bound(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value} is not a bound")
    return value
