"""``yiwen release plan``: arguments in, call out, exit codes.

Exit codes: 0 done, 1 no TensorRT or no GPU here, or an int8 plan that is not good enough, 2 no plan could be built.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.builder.int8_commands import add_int8, run_int8
from predictor.builder.plans.engines import (
    MAX_ROWS,
    MAX_TOKENS,
    OPTIMIZATION_LEVEL,
    PRECISIONS,
    canonical_precision,
)
from predictor.errors import PredictorError, StartupError

if TYPE_CHECKING:
    from predictor.builder.plans.engines import EngineBuilder, GpuInfo


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``release plan``."""
    parser.add_argument("release", type=Path, metavar="DIR", help="the release, in float16 or float32")
    parser.add_argument(
        "--precision",
        type=canonical_precision,
        choices=PRECISIONS,
        default="float16",
        help="of the matrix products (default: %(default)s; fp16 says the same)",
    )
    parser.add_argument(
        "--max-tokens",
        type=_positive,
        default=MAX_TOKENS,
        metavar="N",
        help="most tokens of one pass (default: %(default)s)",
    )
    parser.add_argument(
        "--max-rows",
        type=_positive,
        default=MAX_ROWS,
        metavar="N",
        help="most sequences of one pass (default: %(default)s)",
    )
    parser.add_argument(
        "--level",
        type=int,
        choices=range(6),
        default=OPTIMIZATION_LEVEL,
        help="TensorRT's optimization level: 0 builds fastest, 5 runs fastest (default: %(default)s)",
    )
    parser.add_argument(
        "--timing-cache",
        type=Path,
        metavar="FILE",
        help="TensorRT's timings, read and updated (default: in DIR/plans)",
    )
    parser.add_argument("--force", action="store_true", help="replace a plan that is there already")
    add_int8(parser)


def run_plan(arguments: argparse.Namespace) -> int:
    """Build the plan for this machine's GPU.

    Raises:
        BuildError: it could not be built.
        ReleaseError: the release cannot be read.
    """
    from predictor.builder.plans.build import PlanRequest, build_plan
    from predictor.builder.progress import reporter_for

    try:
        if arguments.precision == "int8":
            check_installed(("onnx", "onnxruntime", *(() if arguments.no_gate else ("sacrebleu",))))
        engines, gpu = _open_gpu()
    except PredictorError as error:
        print(f"yiwen release plan: {error}", file=sys.stderr)
        return 1
    request = PlanRequest(
        release=arguments.release,
        precision=arguments.precision,
        max_tokens=arguments.max_tokens,
        max_rows=arguments.max_rows,
        optimization_level=arguments.level,
        timing_cache=arguments.timing_cache,
        force=arguments.force,
    )
    with reporter_for(sys.stderr) as reporter:
        if request.precision == "int8":
            plan = run_int8(arguments, request, engines, gpu, reporter)
        else:
            plan = build_plan(request, engines, gpu, built_at=datetime.now(timezone.utc), reporter=reporter)
    if plan is None:
        return 1
    print(f"{arguments.release}: {plan.key.name}, {plan.nbytes / 1e6:,.1f} MB in {plan.build_seconds:.0f} s")
    return 0


def check_installed(modules: Sequence[str]) -> None:
    """Nothing, if all of these can be imported: better told now than when half the work is done.

    Raises:
        StartupError: some of them cannot.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise StartupError(f"{', '.join(missing)}: not installed here, but needed: pip install 'yiwen[cpu]'")


def _open_gpu() -> tuple[EngineBuilder, GpuInfo]:
    """TensorRT and the GPU it builds for.

    Raises:
        PredictorError: one of them is not there.
    """
    from predictor.builder.plans.engines import GpuInfo
    from predictor.runners.tensorrt.cuda_api import device_properties
    from predictor.tensorrt_api import load_api

    api = load_api()
    from predictor.builder.plans.engine_build import (
        TensorRTEngineBuilder,
    )  # imports tensorrt, which is there now

    device = device_properties()
    gpu = GpuInfo(device.name, device.compute_capability, device.sm_count, device.driver_version)
    return TensorRTEngineBuilder(api), gpu


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"{value} is not positive")
    return value
