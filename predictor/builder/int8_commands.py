"""Options of ``release plan --precision int8``, and the build of such a plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from predictor.builder.errors import CalibrationFailed, QualityTooLow
from predictor.errors import PredictorError
from protocol.command_line import FAILED, fail

if TYPE_CHECKING:
    from predictor.builder.int8.build import Int8Request
    from predictor.builder.plans.build import PlanRequest
    from predictor.builder.plans.engines import EngineBuilder, GpuInfo
    from predictor.builder.progress import Reporter
    from predictor.plan import TensorRTPlan

# The same defaults as in the modules that do the work, which --help does not import.
CALIBRATION_TOKENS = 2048
ANSWER_TOKENS = 32
LARGEST_ERROR = 0.05
TEXTS_PER_PAIR = 32
GATE_CHRF = 80.0
GATE_LOGPROB = 0.1


def _bound(value: float) -> float:
    if not 0 <= value < math.inf:
        raise BadParameter(f"{value} is not a bound")
    return value


@dataclass(frozen=True, kw_only=True)
class Int8Options:
    """Options of ``release plan --precision int8``: calibration and the quality gate."""

    calibration: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="int8: texts to calibrate and measure with, one per line: source TAB target TAB text, or the text "
            "alone (built-in ones)",
        ),
    ] = None
    calibration_tokens: Annotated[
        int, Option(min=1, metavar="N", help="int8: most tokens to calibrate with")
    ] = CALIBRATION_TOKENS
    calibration_answers: Annotated[
        int, Option(min=1, metavar="N", help="int8: most tokens generated for each of these texts")
    ] = ANSWER_TOKENS
    int8_error: Annotated[
        float,
        Option(
            metavar="X",
            callback=_bound,
            help="int8: matrices whose product has more relative error stay in float16",
        ),
    ] = LARGEST_ERROR
    gate_texts: Annotated[
        int, Option(min=1, metavar="N", help="int8: most texts of a language pair to measure with")
    ] = TEXTS_PER_PAIR
    gate_chrf: Annotated[
        float,
        Option(
            metavar="X",
            callback=_bound,
            help="int8: least chrF against float16's answers, the lower end of the 95 % interval",
        ),
    ] = GATE_CHRF
    gate_logprob: Annotated[
        float, Option(metavar="X", callback=_bound, help="int8: most mean |log-probability error|, in nats")
    ] = GATE_LOGPROB
    no_gate: Annotated[bool, Option("--no-gate", help="int8: publish the plan without measuring it")] = False


def run_int8(
    options: Int8Options, plan: PlanRequest, engines: EngineBuilder, gpu: GpuInfo, reporter: Reporter
) -> TensorRTPlan | None:
    """Build the plan; if its quality is too low, prints why and returns None.

    Args:
        options: of the command line.
        plan: the release directory and the plan's limits.
        engines: builds the TensorRT engines.
        gpu: that the plan is built for.
        reporter: takes progress messages.

    Raises:
        BuildError, ReleaseError: the plan could not be built or measured.
    """
    from predictor.builder.int8.build import build_int8_plan, gpu_runners
    from predictor.config import usable_cores
    from predictor.plan import PlanKey

    threads = usable_cores()
    key = PlanKey(gpu.compute_capability, gpu.sm_count, engines.version, "float16")
    try:
        return build_int8_plan(
            int8_request(options, plan, threads=threads),
            engines,
            gpu,
            gpu_runners(key, reporter, threads=threads),
            built_at=datetime.now(timezone.utc),
            reporter=reporter,
        )
    except QualityTooLow as error:
        fail("release plan", error, FAILED)
        return None
    except PredictorError as error:
        raise CalibrationFailed(f"the release cannot be run: {error}") from error


def int8_request(options: Int8Options, plan: PlanRequest, *, threads: int) -> Int8Request:
    """Convert the command's options to a request.

    Args:
        options: of the command line.
        plan: the release directory and the plan's limits.
        threads: of the CPU that calibration may use.
    """
    from predictor.builder.int8.build import Int8Request
    from predictor.builder.int8.quality_report import QualityGate
    from predictor.builder.int8.quantize import CalibrationConfig

    return Int8Request(
        plan=plan,
        calibration=CalibrationConfig(
            tokens=options.calibration_tokens,
            answer_tokens=options.calibration_answers,
            largest_error=options.int8_error,
            threads=threads,
        ),
        texts=options.calibration,
        texts_per_pair=options.gate_texts,
        gate=None if options.no_gate else QualityGate(options.gate_chrf, options.gate_logprob),
    )
