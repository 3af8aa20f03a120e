"""`yiwen profile`: measures a running predictor and writes PROFILE.json for `simulate` and `plan`.

The predictor should have no other load meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from cli.service_options import ServiceOptions
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from knative.profiling.profile import PredictorProfile

DEFAULT_URL = "http://127.0.0.1:8082"
"""Default address: the predictor of `yiwen serve`."""


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(ServiceOptions):
    """Options of `yiwen profile`."""

    url: Annotated[str, Option(metavar="URL", help="of the predictor")] = DEFAULT_URL
    hardware: Annotated[str, Option(metavar="NAME", help="what it runs on, e.g. 'NVIDIA H200'")]
    slice: Annotated[str, Option(metavar="NAME", help="MIG profile, e.g. 1g.18gb")] = "full"
    release: Annotated[Path | None, Option(metavar="DIR", help="what it serves, for shape and limits")] = None
    callers: Annotated[str, Option(metavar="N,N", help="concurrent requests")] = "1,2,4,8,16"
    lengths: Annotated[str, Option(metavar="N,N", help="of prompts, in tokens")] = "16,48,112"
    new_tokens: Annotated[int, Option(metavar="N", help="of answers")] = 24
    seconds: Annotated[float, Option(metavar="S", help="per measurement, in all")] = 2.0
    rounds: Annotated[int, Option(metavar="N", help="parts of a measurement; the fastest counts")] = 4
    prefill_tokens: Annotated[int, Option(metavar="N", help="its YIWEN_PREFILL_TOKENS")] = 512
    start_seconds: Annotated[
        float | None, Option(metavar="S", help="from start to ready, if you know it")
    ] = None
    name: Annotated[str, Option(metavar="NAME", help="of the profile")] = "measured"
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="written as JSON")] = Path(
        "PROFILE.json"
    )
    json: Annotated[bool, Option("--json", help="print the profile as JSON")] = False


def run(options: ProfileOptions) -> int:
    """Measure and write; returns the exit code."""
    try:
        from knative.profiling.measurement import ProfiledPredictorUnreachable, ProfilingError
    except ImportError:
        return fail("profile", "needs aiohttp: pip install '.[transformer]' in a checkout of Yiwen", FAILED)
    from protocol.release_documents import ReleaseError

    try:
        profile = asyncio.run(_measure(options))
        document = json.dumps(profile.to_json(), indent=1)
        options.output.write_text(document + "\n", encoding="utf-8")
    except ProfiledPredictorUnreachable as error:
        return fail("profile", error, UNUSABLE)
    except (ProfilingError, ReleaseError, OSError) as error:
        return fail("profile", error, FAILED)
    if options.json:
        print(document)
    else:
        _show(profile)
        print(f"wrote {options.output}")
    return 0


async def _measure(options: ProfileOptions) -> PredictorProfile:
    from rich.console import Console
    from rich.progress import track

    from knative.profiling.fitting import ProfileMetadata, fit_profile
    from knative.profiling.measurement import ProfilingConfig, connected, measure
    from protocol.release import load_release

    release = load_release(options.release) if options.release else None
    metadata = ProfileMetadata(
        options.name,
        options.hardware,
        options.slice,
        options.prefill_tokens,
        options.start_seconds,
        release,
    )
    config = ProfilingConfig(
        _numbers(options.callers, "--callers"),
        _numbers(options.lengths, "--lengths"),
        options.new_tokens,
        options.seconds,
        options.rounds,
        options.prefill_tokens,
    )
    progress = partial(track, description="measuring", console=Console(stderr=True))
    async with connected(options.url, options.http_headers()) as predictor:
        return fit_profile(await measure(predictor, config, progress), metadata)


def _show(profile: PredictorProfile) -> None:
    from rich.table import Table

    from cli.tables import print_table

    table = Table(title=f"seconds of a step, {profile.hardware}, {profile.precision}")
    table.add_column("sequences", justify="right")
    for context_tokens in profile.step.context_tokens:
        table.add_column(f"{context_tokens} tokens in use", justify="right")
    for count, row in zip(profile.step.slots, profile.step.seconds, strict=True):
        table.add_row(str(count), *(f"{seconds * 1000:.2f} ms" for seconds in row))
    print_table(table)
    print(
        f"a prompt token {profile.prefill_seconds_per_token * 1e6:.1f} µs, a step with prompts "
        f"{profile.prefill_step_seconds * 1000:.2f} ms, a request {profile.request_overhead_seconds * 1000:.2f} ms"
    )


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers above 0 that ``text`` separates by commas, in rising order."""
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise BadParameter("must be whole numbers separated by commas", param_hint=option) from error
    if numbers[0] < 1:
        raise BadParameter("must all be at least 1", param_hint=option)
    return numbers


app = new_app("Measure a running predictor.")
add_command(app, "profile", run, ProfileOptions, help="Measure a running predictor for simulate and plan.")
