"""From measured runs to a profile: arithmetic alone. :mod:`knative.profiling.measurement` makes the runs."""

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
    """What the predictor does not tell about itself."""

    name: str
    """Of the profile."""
    hardware: str
    slice: str
    prefill_tokens: int
    """As its ``YIWEN_PREFILL_TOKENS``."""
    start_seconds: float | None
    """Measured elsewhere; None: not known."""
    release: Release | None
    """None: its shape and limits are not known."""
    memory: MemoryProfile | None = None
    """Measured elsewhere; None: from the shape, and from what the process tells."""
    request_overhead_seconds: float | None = None
    """Measured elsewhere; None: what a single caller waits beyond its steps, its own work included."""


START_SECONDS = 10.0
"""Assumed where nobody says."""
GPU_OTHER_BYTES = 1 << 30
"""Assumed of a GPU's memory beside weights and K/V: the process's resident bytes are the host's. Measured for a 7B
model on an H100 and on an H200: 762 MiB in float16, 828 to 832 in int8."""
FITTING_ROUNDS = 8
"""Each moves the result by less than a tenth of what the one before moved it."""


def fit_profile(measurement: Measurement, metadata: ProfileMetadata) -> PredictorProfile:
    """A profile from all rounds of a measurement.

    Args:
        measurement: of :func:`knative.profiling.measurement.measure`.
        metadata: what the predictor does not tell.

    Raises:
        ProfilingError: see :func:`make_profile`.
    """
    runs, single = least_disturbed(measurement.grid), least_disturbed(measurement.single)
    return make_profile(runs, single, measurement.info, metadata, full=least_disturbed(measurement.full)[0])


def least_disturbed(runs: Sequence[MeasurementRun]) -> list[MeasurementRun]:
    """Of the runs of one kind the one with the fastest steps: whatever else a machine does only slows them down.

    Returns:
        One of each kind, in the order of the first ones.
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
        info: what the predictor says of itself.
        metadata: the rest.
        full: steps full of prompts, answers of one token. None: a prompt's token is taken to cost what it costs
            alone, and a step with prompts nothing beside them.

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
    """What a prompt token adds to the step that reads it; both runs have one caller and answers of one token.

    Raises:
        ProfilingError: the prompts are of one length.
    """
    more = long.prompt_tokens - short.prompt_tokens
    if more <= 0:
        raise ProfilingError("a prompt token's time needs two lengths: give at least two --lengths")
    return max(0.0, (_seconds_per_step(long) - _seconds_per_step(short)) / more)


@dataclass(frozen=True, slots=True)
class PrefillCost:
    """What prompts add to a step."""

    token_seconds: float
    """Per token."""
    step_seconds: float
    """However few they are."""


def fit_prefill_cost(
    runs: Sequence[MeasurementRun], light: MeasurementRun, full: MeasurementRun, first: PrefillCost
) -> PrefillCost:
    """What prompts add to a step that is full of them, and what a single short one adds beside its tokens.

    The decode step below comes from ``runs``, less what prompts took there: so it is repeated until it stays.

    Args:
        runs: see :func:`make_profile`.
        light: one caller, short prompts, answers of one token.
        full: steps full of prompts, answers of one token.
        first: a guess.
    """
    prompts = first
    for _ in range(FITTING_ROUNDS):
        table = step_table(runs, prompts)
        beside = _seconds_per_step(full) - table.at(_filling(full), full.prompt_tokens) - prompts.step_seconds
        per_token = max(0.0, beside / _prompt_tokens_per_step(full))
        alone = _seconds_per_step(light) - table.at(1, light.prompt_tokens)
        prompts = PrefillCost(per_token, max(0.0, alone - per_token * light.prompt_tokens))
    return prompts


def request_overhead_seconds(single: MeasurementRun, table: StepTable, prompts: PrefillCost) -> float:
    """What a caller waits beyond its steps."""
    reading = prompts.step_seconds + single.prompt_tokens * prompts.token_seconds
    steps = table.at(1, single.prompt_tokens) * single.new_tokens + reading
    return max(0.0, single.seconds_per_request - steps)


def step_table(runs: Sequence[MeasurementRun], prompts: PrefillCost) -> StepTable:
    """Seconds of a step by sequences in it and tokens that each holds in the middle of its answer.

    A run's steps are those that its metrics count, less what its prompts took. Callers that wait for the network make
    them a little emptier than there are callers: between the fillings that there were, and beyond, the table is drawn
    straight. Noise is smoothed in one way only: a step never gets faster with more in it.

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
    """Seconds of a step by sequences in it, from runs of one length."""
    points = sorted((_filling(run), _decode_seconds(run, prompts)) for run in runs)
    fillings, seconds = zip(*points, strict=True)
    column = np.interp(slots, fillings, seconds)
    if len(points) > 1 and fillings[-1] > fillings[-2]:
        slope = max(0.0, (seconds[-1] - seconds[-2]) / (fillings[-1] - fillings[-2]))
        column += slope * np.maximum(0.0, np.array(slots) - fillings[-1])
    return [float(value) for value in column]


def _filling(run: MeasurementRun) -> float:
    """Mean sequences in a step."""
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
    """Mean step without its prompts; half of it at the least, should the prompts' share be overrated."""
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
        else "measured: by whoever gave it",
        "prefill_tokens": "assumed: as given to yiwen profile",
        "start_seconds": "assumed: nobody said"
        if metadata.start_seconds is None
        else "measured: by whoever gave it",
        "memory": _memory_provenance(metadata, info),
    }


def _memory_provenance(metadata: ProfileMetadata, info: PredictorInfo) -> str:
    if metadata.memory:
        return "measured: by whoever gave it"
    if info.backend == "tensorrt":
        return "assumed: weights and K/V by shape, and what others of its kind take beside them"
    if metadata.release:
        return "measured: resident bytes of the process and its K/V; weights by shape"
    return "assumed: K/V alone, since the release was not given"


def _rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")
