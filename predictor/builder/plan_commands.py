"""``yiwen release plan``: options and exit codes.

Exit code 1: this machine has no TensorRT or no GPU, or an int8 plan fails the quality gate. 2: the build failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from predictor.builder.int8_commands import Int8Options, run_int8
from predictor.builder.plans.engines import (
    MAX_ROWS,
    MAX_TOKENS,
    OPTIMIZATION_LEVEL,
    PRECISIONS,
    canonical_precision,
)
from predictor.errors import PredictorError, StartupError
from protocol.command_line import FAILED, fail

if TYPE_CHECKING:
    from predictor.builder.plans.engines import EngineBuilder, GpuInfo


def _precision(text: str) -> str:
    precision = canonical_precision(text)
    if precision not in PRECISIONS:
        raise BadParameter(f"{text!r} is not one of {', '.join(PRECISIONS)}")
    return precision


@dataclass(frozen=True, kw_only=True)
class PlanOptions(Int8Options):
    """Options of ``release plan``."""

    release: Annotated[Path, Argument(metavar="DIR", help="the release, in float16 or float32")]
    precision: Annotated[
        str,
        Option(
            metavar="|".join(PRECISIONS), callback=_precision, help="of the matrix products; fp16 is float16"
        ),
    ] = "float16"
    max_tokens: Annotated[int, Option(min=1, metavar="N", help="most tokens of one pass")] = MAX_TOKENS
    max_rows: Annotated[int, Option(min=1, metavar="N", help="most sequences of one pass")] = MAX_ROWS
    level: Annotated[
        int,
        Option(min=0, max=5, help="TensorRT's optimization level: 0 builds fastest, 5 runs fastest"),
    ] = OPTIMIZATION_LEVEL
    timing_cache: Annotated[
        Path | None, Option(metavar="FILE", help="TensorRT's timings, read and updated (in DIR/plans)")
    ] = None
    force: Annotated[bool, Option("--force", help="replace a plan that exists")] = False


def run_plan(options: PlanOptions) -> int:
    """Build the plan for this machine's GPU.

    Raises:
        BuildError: it could not be built.
        ReleaseError: the release cannot be read.
    """
    from predictor.builder.plans.build import PlanRequest, build_plan
    from predictor.builder.progress import reporter_for

    try:
        if options.precision == "int8":
            check_installed(("onnx", "onnxruntime", *(() if options.no_gate else ("sacrebleu",))))
        engines, gpu = _open_gpu()
    except PredictorError as error:
        return fail("release plan", error, FAILED)
    request = PlanRequest(
        release=options.release,
        precision=options.precision,
        max_tokens=options.max_tokens,
        max_rows=options.max_rows,
        optimization_level=options.level,
        timing_cache=options.timing_cache,
        force=options.force,
    )
    with reporter_for(sys.stderr) as reporter:
        if request.precision == "int8":
            plan = run_int8(options, request, engines, gpu, reporter)
        else:
            plan = build_plan(request, engines, gpu, built_at=datetime.now(timezone.utc), reporter=reporter)
    if plan is None:
        return FAILED
    print(f"{options.release}: {plan.key.name}, {plan.nbytes / 1e6:,.1f} MB in {plan.build_seconds:.0f} s")
    return 0


def check_installed(modules: Sequence[str]) -> None:
    """Check that all of these modules can be imported, before any work.

    Raises:
        StartupError: some of them cannot.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise StartupError(
            f"{', '.join(missing)}: not installed here, but needed: pip install '.[cpu]' in a checkout of Yiwen"
        )


def _open_gpu() -> tuple[EngineBuilder, GpuInfo]:
    """Open TensorRT and the GPU that it builds for.

    Raises:
        PredictorError: one of them is missing.
    """
    from predictor.builder.plans.engines import GpuInfo
    from predictor.runners.tensorrt.cuda_api import device_properties
    from predictor.tensorrt_api import load_api

    api = load_api()
    from predictor.builder.plans.engine_build import (
        TensorRTEngineBuilder,
    )  # imports tensorrt, which check_installed found

    device = device_properties()
    gpu = GpuInfo(device.name, device.compute_capability, device.sm_count, device.driver_version)
    return TensorRTEngineBuilder(api), gpu
