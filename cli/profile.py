"""`yiwen profile`: measures a running predictor and writes PROFILE.json for `simulate` and `plan`.

The predictor should do nothing else meanwhile. Exit codes: 0 written, 1 it cannot be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knative.profiling.profile import PredictorProfile

FAILED = 1
DEFAULT_URL = "http://127.0.0.1:8082"
"""Where `yiwen serve` has its predictor."""


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen profile`."""
    parser = subparsers.add_parser("profile", help="measure a running predictor for simulate and plan")
    add = parser.add_argument
    add("--url", default=DEFAULT_URL, help="of the predictor (%(default)s)")
    add("--hardware", required=True, metavar="NAME", help="what it runs on, e.g. 'NVIDIA H200'")
    add("--slice", default="full", metavar="NAME", help="MIG profile, e.g. 1g.18gb (full)")
    add("--release", type=Path, metavar="DIR", help="what it serves, for shape and limits")
    add("--callers", type=_numbers, default=(1, 2, 4, 8, 16), metavar="N,N", help="at a time (1,2,4,8,16)")
    add(
        "--lengths",
        type=_numbers,
        default=(16, 48, 112),
        metavar="N,N",
        help="of prompts, in tokens (16,48,112)",
    )
    add("--new-tokens", type=int, default=24, metavar="N", help="of answers (%(default)s)")
    add("--seconds", type=float, default=2.0, metavar="S", help="per measurement, in all (%(default)g)")
    add(
        "--rounds",
        type=int,
        default=4,
        metavar="N",
        help="parts of a measurement; the fastest counts (%(default)s)",
    )
    add("--prefill-tokens", type=int, default=512, metavar="N", help="its YIWEN_PREFILL_TOKENS (%(default)s)")
    add("--start-seconds", type=float, metavar="S", help="from start to ready, if you know it")
    add("--name", default="measured", metavar="NAME", help="of the profile")
    add("--out", type=Path, default=Path("PROFILE.json"), metavar="FILE", help="(%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and write; returns the exit code."""
    try:
        from knative.profiling.measurement import ProfilingError
    except ImportError:
        print("yiwen profile: needs aiohttp: pip install 'yiwen[transformer]'", file=sys.stderr)
        return FAILED
    from protocol.release import ReleaseError

    try:
        profile = asyncio.run(_measure(arguments))
        arguments.out.write_text(json.dumps(profile.to_json(), indent=1) + "\n", encoding="utf-8")
    except (ProfilingError, ReleaseError, OSError) as error:
        print(f"yiwen profile: {error}", file=sys.stderr)
        return FAILED
    _show(profile)
    print(f"wrote {arguments.out}")
    return 0


async def _measure(arguments: argparse.Namespace) -> PredictorProfile:
    from rich.console import Console
    from rich.progress import track

    from knative.profiling.fitting import ProfileMetadata, fit_profile
    from knative.profiling.measurement import ProfilingConfig, connected, measure
    from protocol.release import load_release

    release = load_release(arguments.release) if arguments.release else None
    metadata = ProfileMetadata(
        arguments.name,
        arguments.hardware,
        arguments.slice,
        arguments.prefill_tokens,
        arguments.start_seconds,
        release,
    )
    config = ProfilingConfig(
        arguments.callers,
        arguments.lengths,
        arguments.new_tokens,
        arguments.seconds,
        arguments.rounds,
        arguments.prefill_tokens,
    )
    progress = partial(track, description="measuring", console=Console(stderr=True))
    async with connected(arguments.url) as predictor:
        return fit_profile(await measure(predictor, config, progress), metadata)


def _show(profile: PredictorProfile) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"seconds of a step, {profile.hardware}, {profile.precision}")
    table.add_column("sequences", justify="right")
    for context_tokens in profile.step.context_tokens:
        table.add_column(f"{context_tokens} tokens held", justify="right")
    for count, row in zip(profile.step.slots, profile.step.seconds, strict=True):
        table.add_row(str(count), *(f"{seconds * 1000:.2f} ms" for seconds in row))
    Console().print(table)
    print(
        f"a prompt token {profile.prefill_seconds_per_token * 1e6:.1f} µs, a step with prompts "
        f"{profile.prefill_step_seconds * 1000:.2f} ms, a request {profile.request_overhead_seconds * 1000:.2f} ms"
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Rising whole numbers above 0, separated by commas."""
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be whole numbers separated by commas") from error
    if numbers[0] < 1:
        raise argparse.ArgumentTypeError("must all be at least 1")
    return numbers
