"""Measures a precision's profile as `yiwen profile` does, and also start time, memory and loads that check the fit.

The real predictor answers over HTTP. Every round of every run is kept, so that a profile can be fitted again without
a GPU: ``fitted(json.loads(...))``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.gpu_stages import load, setting
from knative.planner.hardware.catalogue import GPUS
from knative.profiling.fitting import ProfileMetadata, fit_profile
from knative.profiling.measurement import (
    GridPoint,
    Measurement,
    MeasurementRun,
    MetricCounters,
    PredictorInfo,
    ProfilingConfig,
    connected,
    find_prompts,
    measure,
    run_callers,
)
from knative.profiling.profile import MemoryProfile, PredictorProfile
from protocol.release import DecoderShape, Limits, Release, load_release

EFFORT = ProfilingConfig(
    callers=(1, 2, 4, 8, 16, 32, 64, 128),
    lengths=(32, 128, 384),
    new_tokens=96,
    seconds=1.5,
    rounds=2,
    prefill_tokens=setting.PREFILL_TOKENS,
)
"""Long answers, so that at 128 callers prefill does not take most of the time."""
PROMPTS_ALONE = (
    GridPoint(1, 128, 1),
    GridPoint(16, 128, 1),
    GridPoint(32, 128, 1),
    GridPoint(16, 384, 1),
    GridPoint(32, 384, 1),
)
"""Runs that are mostly prefill: one prompt at a time, and as many as fit into a step."""
SHORT_ANSWERS = (
    GridPoint(32, 128, 24),
    GridPoint(128, 32, 24),
    GridPoint(128, 128, 24),
    GridPoint(32, 384, 24),
)
"""The same steps with short answers, for comparison."""
STARTS = 3
"""Starts; the first one fills the page cache and compiles kernels, and is not counted."""


def measure_profile(release: Path, precision: str, effort: ProfilingConfig = EFFORT) -> dict[str, Any]:
    """Measure; returns all measurements and the fitted profile."""
    slots = max(effort.callers)
    before = used_bytes()
    starts = []
    for _ in range(STARTS - 1):
        with setting.predictor(release, precision, slots=slots) as (_, ready):
            starts.append(ready)
    with setting.predictor(release, precision, slots=slots) as (url, ready):
        starts.append(ready)
        measurement, more = asyncio.run(_measure(url, effort))
        vocabulary = load_release(release).decoder.vocab
        callers = [count for count in load.CALLERS if count <= slots]
        over_http = {str(count): load.run_http(url, vocabulary, count).to_json() for count in callers}
        device_bytes = used_bytes() - before
    log = setting.predictor_log(release, precision, slots)
    figures = {
        "gpu": device_name(),
        "precision": precision,
        "starts_s": starts,
        "device_bytes": device_bytes,
        "weight_bytes": weight_bytes(release, precision),
        "prefill_tokens": setting.PREFILL_TOKENS,
        "release": load_release(release).to_json() | {"files": {}, "provenance": {}},
        "facts": dataclasses.asdict(measurement.info),
        **{
            name: [dataclasses.asdict(run) for run in runs]
            for name, runs in (
                ("single", measurement.single),
                ("full", measurement.full),
                ("grid", measurement.grid),
                ("more", more),
            )
        },
        "http": over_http,
        "burst": {"callers": callers[-1], "answers": last_answers(log, callers[-1])},
    }
    return figures | {"profile": fitted(figures, "this run").to_json()}


def last_answers(log: Path, callers: int) -> list[tuple[float, float]]:
    """Arrival and answer times of the last HTTP load's requests, by the server's log, in order, seconds.

    The log has milliseconds. The load begins with one short request of each caller.
    """
    count = callers * (1 + load.REQUESTS_PER_CALLER)
    rows = []
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("logger") == "yiwen.request" and entry.get("surface") == "rest":
            end = datetime.fromisoformat(entry["ts"]).timestamp()
            rows.append((end - entry["duration_ms"] / 1e3, end))
    begin = min(start for start, _ in rows[-count:])
    return [(round(start - begin, 4), round(end - begin, 4)) for start, end in rows[-count:]]


def event_loop_seconds(burst: Mapping[str, Any]) -> float:
    """Seconds of the server's event loop per request, for simultaneous arrivals and for simultaneous ends.

    All callers send at one time after their first, short request, and all get their last answers at one time.
    """
    callers = int(burst["callers"])
    starts, ends = (sorted(row[column] for row in burst["answers"]) for column in (0, 1))
    coming = starts[2 * callers - 1] - starts[callers]
    going = ends[-1] - ends[-callers]
    return float(coming + going) / callers


async def _measure(url: str, effort: ProfilingConfig) -> tuple[Measurement, list[MeasurementRun]]:
    async with connected(url) as predictor:
        measurement = await measure(predictor, effort)
        cells = [cell for cell in (*PROMPTS_ALONE, *SHORT_ANSWERS) if cell.callers <= max(effort.callers)]
        rng, more = Random(1), []
        for cell in cells:
            prompts = await find_prompts(predictor, cell.prompt_tokens, cell.new_tokens, rng)
            more.append(
                await run_callers(
                    predictor, prompts, callers=cell.callers, new_tokens=cell.new_tokens, seconds=0.7
                )
            )
    return measurement, more


def fitted(figures: Mapping[str, Any], source: str) -> PredictorProfile:
    """Fit the profile to the figures of :func:`measure_profile`.

    Args:
        figures: of one precision.
        source: where the figures are kept, for the profile's provenance.
    """
    info = PredictorInfo(**figures["facts"])
    release = _release(figures["release"])
    kv_bytes_per_token = 2 * release.decoder.kv_values_per_token  # float16
    taken = figures["weight_bytes"] + info.kv_bytes
    key, hardware = hardware_of(figures["gpu"])
    name = f"7b-{key}-full-{figures['precision']}"
    profile = fit_profile(
        Measurement(info, *(_runs(figures[name]) for name in ("single", "full", "grid"))),
        ProfileMetadata(
            name=name,
            hardware=hardware,
            slice="full",
            prefill_tokens=figures["prefill_tokens"],
            start_seconds=round(max(figures["starts_s"][1:]), 1),
            release=release,
            memory=MemoryProfile(
                figures["weight_bytes"], kv_bytes_per_token, max(0, figures["device_bytes"] - taken)
            ),
            request_overhead_seconds=event_loop_seconds(figures["burst"]),
        ),
    )
    provenance = {
        **profile.provenance,
        "step": f"{profile.provenance['step']}; {figures['gpu']}, {source}",
        "prefill_tokens": "measured: what the predictor was started with",
        "request_overhead_seconds": "measured: its event loop's, by the server's log of simultaneous requests",
        "start_seconds": "measured: the slower of two starts with the files in the page cache",
        "memory": "measured: size of the plan, K/V by shape; other_bytes is what else the process takes of the GPU",
    }
    named = dataclasses.replace(profile.release, name=release.name)
    return dataclasses.replace(profile, release=named, provenance=provenance)


def _release(document: Mapping[str, Any]) -> Release:
    fields = {name: value for name, value in document.items() if name != "schema"}
    shapes = {"decoder": DecoderShape(**fields["decoder"]), "limits": Limits(**fields["limits"])}
    return Release(**{**fields, **shapes})


def _runs(rows: Iterable[Mapping[str, Any]]) -> tuple[MeasurementRun, ...]:
    return tuple(MeasurementRun(**{**row, "counters": MetricCounters(**row["counters"])}) for row in rows)


def hardware_of(gpu: str) -> tuple[str, str]:
    """The planner's key and name of a GPU by its CUDA name; the CUDA name if the planner does not know the GPU."""
    # An A100 is no A10.
    known = [entry for entry in GPUS.values() if re.match(rf"{re.escape(entry.name)}(?!\w)", gpu)]
    if not known:
        return "-".join(gpu.lower().split()), gpu
    best = max(known, key=lambda entry: len(entry.name))
    return best.key, best.name


def device_name() -> str:
    """The GPU's CUDA name."""
    from predictor.runners.tensorrt.cuda_api import device_properties

    return device_properties().name


def weight_bytes(release: Path, precision: str) -> int:
    """Bytes of weights in the precision's plan."""
    return setting.plan_of(release, precision).nbytes


def used_bytes() -> int:
    """Used memory of the first GPU in bytes, of all processes; asked of the driver, which allocates none itself."""
    command = shutil.which("nvidia-smi") or "nvidia-smi"
    query = [command, "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    output = subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(output.split()[0]) << 20


def write_profile(profile: Mapping[str, Any], folder: Path) -> None:
    """Write a profile's document to a file with its name."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(profile, indent=1) + "\n"
    (folder / f"{profile['name']}.json").write_text(text, encoding="utf-8")
