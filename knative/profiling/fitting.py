"""Fits a profile to the runs of a measurement (:mod:`knative.profiling.measurement`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from knative.profiling.measurement import Measurement, MeasurementRun, PredictorInfo, ProfilingError
from knative.profiling.model_shape import BYTES_PER_WEIGHT, ModelShape
from knative.profiling.profile import MemoryProfile, PredictorProfile, ProfiledRelease, StepTable
from protocol.release import Release


@dataclass(frozen=True, slots=True)
class ProfileMetadata:
    """Properties that the predictor does not report."""

    name: str
    """Of the profile."""
    hardware: str
    slice: str
    prefill_tokens: int
    """As its ``YIWEN_PREFILL_TOKENS``."""
    start_seconds: float | None
    """Measured elsewhere; None: unknown."""
    release: Release | None
    """None: its shape and limits are unknown."""
    memory: MemoryProfile | None = None
    """Measured elsewhere; None: from the shape and the metrics of the process."""
    request_overhead_seconds: float | None = None
    """Measured elsewhere; None: the latency of a single caller less its steps, the caller's own work included."""


START_SECONDS = 10.0
"""Assumed where it was not given."""
GPU_OTHER_BYTES = 1 << 30
"""Assumed of a GPU's memory beside weights and K/V: the process's resident bytes are the host's. Measured for a 7B
model on an H100 and on an H200: 762 MiB in float16, 828 to 832 in int8."""
FITTING_ROUNDS = 8
"""Iterations; each changes the result by less than a tenth of the change before."""


def fit_profile(measurement: Measurement, metadata: ProfileMetadata) -> PredictorProfile:
    """A profile from all rounds of a measurement.

    Args:
        measurement: of :func:`knative.profiling.measurement.measure`.
        metadata: what the predictor does not report.

    Raises:
        ProfilingError: see :func:`make_profile`.
    """
    runs, single = least_disturbed(measurement.grid), least_disturbed(measurement.single)
    return make_profile(runs, single, measurement.info, metadata, full=least_disturbed(measurement.full)[0])


def least_disturbed(runs: Sequence[MeasurementRun]) -> list[MeasurementRun]:
    """The run with the fastest steps of each kind: disturbances only make steps slower.

    Returns:
        One run of each kind, in the order of their first occurrence.
    """
    best: dict[tuple[int, int, int], MeasurementRun] = {}
    for run in runs:
        kind = (run.callers, run.prompt_tokens, run.new_tokens)
        if kind not in best or _seconds_per_step(run) < _seconds_per_step(best[kind]):
            best[kind] = run
    return list(best.values())


def make_profile(
    runs: Sequence[MeasurementRun],
    single: Sequence[MeasurementRun],
    info: PredictorInfo,
    metadata: ProfileMetadata,
    *,
    full: MeasurementRun | None = None,
) -> PredictorProfile:
    """A profile.

    Args:
        runs: one for every number of callers and every length, on a grid.
        single: one caller, answers of one token: the shortest prompts, then the longest.
        info: what the predictor reports about itself.
        metadata: the rest.
        full: steps full of prompts, answers of one token. None: a prompt token takes what it takes in a single
            prompt, and a step with prompts has no overhead.

    Raises:
        ProfilingError: the runs are no grid, or the release is another one than the predictor's.
    """
    release = metadata.release
    if release is not None and release.id != info.release:
        raise ProfilingError(
            f"the predictor serves release {info.release}, {release.name} is {release.id}: give the directory of "
            "the one that it serves"
        )
    prompts = PrefillCost(prefill_token_seconds(single[0], single[-1]), 0.0)
    if full is not None:
        prompts = fit_prefill_cost(runs, single[0], full, prompts)
    table = step_table(runs, prompts)
    longest = table.context_tokens[-1] + max(run.new_tokens for run in runs)
    return PredictorProfile(
        name=metadata.name,
        kind="measured",
        derivation="",
        hardware=metadata.hardware,
        slice=metadata.slice,
        release=ProfiledRelease(info.release, info.model, release.decoder if release else None),
        precision=info.precision,
        slots=min(info.slots, 2 * table.slots[-1]),
        max_sequence_tokens=release.limits.max_sequence_tokens if release else longest,
        prefill_tokens=metadata.prefill_tokens,
        step=table,
        prefill_seconds_per_token=_rounded(prompts.token_seconds),
        request_overhead_seconds=_rounded(
            request_overhead_seconds(single[0], table, prompts)
            if metadata.request_overhead_seconds is None
            else metadata.request_overhead_seconds
        ),
        start_seconds=START_SECONDS if metadata.start_seconds is None else metadata.start_seconds,
        memory=metadata.memory or _memory(info, release, longest),
        provenance=_provenance(runs, info, metadata, full),
        prefill_step_seconds=_rounded(prompts.step_seconds),
    )


def prefill_token_seconds(short: MeasurementRun, long: MeasurementRun) -> float:
    """Seconds that a prompt token adds to its step; both runs have one caller and answers of one token.

    Raises:
        ProfilingError: the prompts are of one length.
    """
    more = long.prompt_tokens - short.prompt_tokens
    if more <= 0:
        raise ProfilingError("a prompt token's time needs two lengths: give at least two --lengths")
    return max(0.0, (_seconds_per_step(long) - _seconds_per_step(short)) / more)


@dataclass(frozen=True, slots=True)
class PrefillCost:
    """Seconds that prompts add to a step."""

    token_seconds: float
    """Per prompt token."""
    step_seconds: float
    """Per step with prompts."""


def fit_prefill_cost(
    runs: Sequence[MeasurementRun], light: MeasurementRun, full: MeasurementRun, first: PrefillCost
) -> PrefillCost:
    """Prefill cost from a step full of prompts, and from a step with a single short prompt.

    The decode time within these steps comes from ``runs``, less the prefill cost there, so this is a fixed-point
    iteration.

    Args:
        runs: see :func:`make_profile`.
        light: one caller, short prompts, answers of one token.
        full: steps full of prompts, answers of one token.
        first: initial value.
    """
    prompts = first
    for _ in range(FITTING_ROUNDS):
        table = step_table(runs, prompts)
        beside = (
            _seconds_per_step(full) - table.at(_batch_size(full), full.prompt_tokens) - prompts.step_seconds
        )
        per_token = max(0.0, beside / _prompt_tokens_per_step(full))
        alone = _seconds_per_step(light) - table.at(1, light.prompt_tokens)
        prompts = PrefillCost(per_token, max(0.0, alone - per_token * light.prompt_tokens))
    return prompts


def request_overhead_seconds(single: MeasurementRun, table: StepTable, prompts: PrefillCost) -> float:
    """Seconds of a single caller's latency that are not steps, at least 0.

    Args:
        single: the run with one caller.
        table: seconds of a step.
        prompts: prefill cost.
    """
    reading = prompts.step_seconds + single.prompt_tokens * prompts.token_seconds
    steps = table.at(1, single.prompt_tokens) * single.new_tokens + reading
    return max(0.0, single.seconds_per_request - steps)


def step_table(runs: Sequence[MeasurementRun], prompts: PrefillCost) -> StepTable:
    """Seconds of a step by batch size, and by context length in the middle of an answer.

    A run's steps are those that its metrics count, less the prefill cost. Batches are a little smaller than the
    number of callers, since some callers wait for the network: the table is interpolated, and extrapolated, linearly
    from the mean batch sizes. Noise is smoothed in one way only: a step is never faster with more in it.

    Raises:
        ProfilingError: the runs are no grid.
    """
    slots = tuple(sorted({run.callers for run in runs}))
    contexts = tuple(sorted({_context_tokens(run) for run in runs}))
    cells = {(run.callers, _context_tokens(run)) for run in runs}
    if len(cells) != len(runs) or len(runs) != len(slots) * len(contexts):
        raise ProfilingError("every number of callers must be measured with every length, once")
    columns = [
        _column([run for run in runs if _context_tokens(run) == tokens], slots, prompts)
        for tokens in contexts
    ]
    seconds = np.maximum.accumulate(np.maximum.accumulate(np.array(columns).T, axis=0), axis=1)
    slope = 0.0
    if len(contexts) > 1:
        slope = (seconds[-1, -1] - seconds[-1, 0]) / (contexts[-1] - contexts[0]) / slots[-1]
    rows = tuple(tuple(_rounded(value) for value in row) for row in seconds.tolist())
    return StepTable(slots, contexts, rows, _rounded(float(slope)))


def _column(runs: Sequence[MeasurementRun], slots: Sequence[int], prompts: PrefillCost) -> list[float]:
    """Seconds of a step by batch size, from runs of one prompt length."""
    points = sorted((_batch_size(run), _decode_seconds(run, prompts)) for run in runs)
    batch_sizes, seconds = zip(*points, strict=True)
    column = np.interp(slots, batch_sizes, seconds)
    if len(points) > 1 and batch_sizes[-1] > batch_sizes[-2]:
        slope = max(0.0, (seconds[-1] - seconds[-2]) / (batch_sizes[-1] - batch_sizes[-2]))
        column += slope * np.maximum(0.0, np.array(slots) - batch_sizes[-1])
    return [float(value) for value in column]


def _batch_size(run: MeasurementRun) -> float:
    """Mean batch size of a run's steps."""
    return run.counters.generated_tokens / run.counters.steps


def _prompt_tokens_per_step(run: MeasurementRun) -> float:
    return run.counters.prompt_tokens / run.counters.steps


def _context_tokens(run: MeasurementRun) -> int:
    return run.prompt_tokens + run.new_tokens // 2


def _seconds_per_step(run: MeasurementRun) -> float:
    if not run.counters.steps:
        raise ProfilingError(
            "the predictor's metrics counted no step: does it share its port with another one?"
        )
    return run.counters.step_seconds / run.counters.steps


def _decode_seconds(run: MeasurementRun, prompts: PrefillCost) -> float:
    """Mean seconds of a step without its prompts; at least half, in case the prefill cost is overestimated."""
    whole, counters = _seconds_per_step(run), run.counters
    taken = counters.prompt_tokens * prompts.token_seconds + counters.prompt_steps * prompts.step_seconds
    return max(whole / 2, whole - taken / counters.steps)


def _memory(info: PredictorInfo, release: Release | None, longest: int) -> MemoryProfile:
    tokens = info.slots * (release.limits.max_sequence_tokens if release else longest)
    kv_per_token = info.kv_bytes // tokens if tokens else 0
    if release is not None:
        width = 2 if info.backend == "tensorrt" else 4
        kv_per_token = release.decoder.kv_values_per_token * width
    weights = 0
    if release is not None:
        precision = info.precision if info.precision in BYTES_PER_WEIGHT else "float32"
        weights = ModelShape(release.name, release.decoder, tied=False).read_bytes(precision)
    other = max(0, info.resident_bytes - weights - info.kv_bytes)
    return MemoryProfile(weights, kv_per_token, GPU_OTHER_BYTES if info.backend == "tensorrt" else other)


def _provenance(
    runs: Sequence[MeasurementRun],
    info: PredictorInfo,
    metadata: ProfileMetadata,
    full: MeasurementRun | None,
) -> dict[str, str]:
    asked = sum(run.requests for run in runs)
    return {
        "step": f"measured: {asked} requests over HTTP, steps by the predictor's metrics",
        "step.seconds_per_context_token": "fitted: slope of the last row",
        "prefill_seconds_per_token": "measured: steps full of prompts, less those without"
        if full
        else "measured: steps with the longest prompts, less those with the shortest",
        "prefill_step_seconds": "measured: steps with one short prompt, less those without and less its tokens"
        if full
        else "assumed: nothing",
        "request_overhead_seconds": "measured: one caller's wait, less its steps"
        if metadata.request_overhead_seconds is None
        else "measured: as given to yiwen profile",
        "prefill_tokens": "assumed: as given to yiwen profile",
        "start_seconds": "assumed: not given"
        if metadata.start_seconds is None
        else "measured: as given to yiwen profile",
        "memory": _memory_provenance(metadata, info),
    }


def _memory_provenance(metadata: ProfileMetadata, info: PredictorInfo) -> str:
    if metadata.memory:
        return "measured: as given to yiwen profile"
    if info.backend == "tensorrt":
        return "assumed: weights and K/V by shape, and what others of its kind take beside them"
    if metadata.release:
        return "measured: resident bytes of the process and its K/V; weights by shape"
    return "assumed: K/V alone, since the release was not given"


def _rounded(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
