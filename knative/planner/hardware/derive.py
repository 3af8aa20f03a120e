"""A profile for hardware or a model that was not measured, from one that was.

The rules, in the order they apply:

- A part of a step is launches, and the same everywhere: :data:`LAUNCH_SECONDS` for every layer.
- The rest is bound by memory: its seconds change with the bytes that it reads (weights, and its sequences' K/V) and
  with the bandwidth. What the measured step lost against its bytes it loses everywhere.
- A slice has the bandwidth of its memory slices, or of its compute slices if that is less.
- No step is faster than its arithmetic: as many prompt tokens would take as long to read.
- A request's own time, that of the server around the model, stays as it is, and so does what prompts cost a step
  however few they are: both are the host's.
- Prompts are bound by arithmetic: their seconds change with the parameters and with the multiprocessors' speed.

Data sheets stand for bandwidth and arithmetic, so only ratios of them matter. What is neglected: a slice's smaller
second-level cache, and products that use a smaller model's rows less well. :data:`BAND` is how far off we expect
this to be. Once it could be seen: a 7B model's H100 profile, derived from the H200's, has 0.98 to 1.17 times the
measured steps, the most with many sequences, and 0.91 to 0.99 times the prompts (docs/benchmarks/gpu).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from knative.planner.hardware.gpus import GpuModel, GpuSlice
from knative.profiling.model_shape import ModelShape
from knative.profiling.profile import MemoryProfile, PredictorProfile, ProfiledRelease, StepTable

MODULE = "knative/planner/hardware/derive.py"
"""Where a derived profile says that its rules are."""
MEMORY_FRACTION = 0.92
"""As ``YIWEN_GPU_MEMORY_FRACTION``."""
LAUNCH_SECONDS = 2.2e-5
"""Of a layer's operations: the demo model's step on an H200, 0.157 ms for 7 layers whose bytes take next to no time
(docs/benchmarks/gpu). The 7B model's step of one sequence is its bytes' time and 30 times this within 3 % in float16;
in int8 that is up to 8 % too much."""
BAND = (0.7, 1.5)
"""Seconds of a derived profile may be off by these factors."""


PROVENANCE = {
    "step": "derived: launches, and bytes read over bandwidth; never faster than its arithmetic",
    "prefill_seconds_per_token": "derived: parameters over arithmetic",
    "start_seconds": "derived: in proportion to the weights' bytes",
    "memory": "derived: from the model's shape; other_bytes assumed to be those of the reference",
}


@dataclass(frozen=True, slots=True)
class DerivationTarget:
    """What a profile is wanted for."""

    gpu: GpuModel
    gpu_slice: GpuSlice
    model: ModelShape


def slots_that_fit(
    target: DerivationTarget, precision: str, other_bytes: int, max_sequence_tokens: int
) -> int:
    """Slots that the memory holds beside weights and workspace, as the predictor's start counts them; 0 if none.

    Args:
        target: slice and model.
        precision: of the weights.
        other_bytes: workspace, buffers and what CUDA takes.
        max_sequence_tokens: tokens of a slot.
    """
    available = target.gpu.slice_bytes(target.gpu_slice) * MEMORY_FRACTION
    left = available - target.model.weight_bytes(precision) - other_bytes
    return max(0, int(left // (target.model.kv_bytes_per_token * max_sequence_tokens)))


def derive_profile(
    reference: PredictorProfile,
    measured_on: DerivationTarget,
    target: DerivationTarget,
    *,
    slots: int,
    max_sequence_tokens: int,
) -> PredictorProfile:
    """A profile by the rules above.

    Args:
        reference: the measured one.
        measured_on: its GPU, slice and model.
        target: what to derive for; the precision stays.
        slots: of the result, at most those of ``reference``.
        max_sequence_tokens: tokens of a slot.
    """
    precision, model = reference.precision, target.model
    arithmetic = (model.parameters / measured_on.model.parameters) * (flops(measured_on) / flops(target))
    prefill = reference.prefill_seconds_per_token * arithmetic
    weights = model.weight_bytes(precision)
    start = reference.start_seconds * weights / measured_on.model.weight_bytes(precision)
    return dataclasses.replace(
        reference,
        name=f"{model.name}-{target.gpu.key}-{target.gpu_slice.name}-{precision}",
        kind="derived",
        derivation=f"from {reference.name}, by bytes read, bandwidth and arithmetic: {MODULE}",
        hardware=target.gpu.name,
        slice=target.gpu_slice.name,
        release=_release(reference, measured_on, target),
        slots=slots,
        max_sequence_tokens=max_sequence_tokens,
        step=_steps(reference, measured_on, target, (slots, max_sequence_tokens), prefill),
        prefill_seconds_per_token=_rounded(prefill),
        start_seconds=_rounded(start),
        memory=MemoryProfile(weights, model.kv_bytes_per_token, reference.memory.other_bytes),
        provenance=PROVENANCE,
    )


def _steps(
    reference: PredictorProfile,
    measured_on: DerivationTarget,
    target: DerivationTarget,
    most: tuple[int, int],
    prefill: float,
) -> StepTable:
    """Steps up to ``most`` slots and tokens of past, none faster than ``prefill`` seconds per sequence."""
    slower = bandwidth(measured_on) / bandwidth(target)

    def seconds(count: int, context_tokens: int) -> float:
        ratio = _read(target.model, reference.precision, count, context_tokens) / _read(
            measured_on.model, reference.precision, count, context_tokens
        )
        reading = (
            reference.step_seconds(count, context_tokens) - LAUNCH_SECONDS * measured_on.model.decoder.layers
        )
        launching = LAUNCH_SECONDS * target.model.decoder.layers
        return max(launching + reading * slower * ratio, count * prefill)

    slots, tokens = most
    counts = tuple(sorted({*(n for n in reference.step.slots if n < slots), slots}))
    contexts = tuple(sorted({*reference.step.context_tokens, 0, tokens}))
    more_kv = target.model.kv_bytes_per_token / measured_on.model.kv_bytes_per_token
    return StepTable(
        slots=counts,
        context_tokens=contexts,
        seconds=tuple(tuple(_rounded(seconds(n, tokens)) for tokens in contexts) for n in counts),
        seconds_per_context_token=_rounded(reference.step.seconds_per_context_token * slower * more_kv),
    )


def bandwidth(target: DerivationTarget) -> float:
    """Bytes per second that a slice reads: its share of memory slices, or of compute slices if that is less."""
    return target.gpu.bandwidth * min(target.gpu_slice.memory_share, target.gpu_slice.compute_share)


def flops(target: DerivationTarget) -> float:
    """Operations per second of a slice's multiprocessors."""
    return target.gpu.flops * target.gpu_slice.compute_share


def _read(model: ModelShape, precision: str, count: int, context_tokens: int) -> float:
    return model.read_bytes(precision) + count * context_tokens * model.kv_bytes_per_token


def _release(
    reference: PredictorProfile, measured_on: DerivationTarget, target: DerivationTarget
) -> ProfiledRelease:
    if target.model == measured_on.model:
        return reference.release
    return ProfiledRelease("", target.model.name, target.model.decoder)


def _rounded(value: float) -> float:
    """Four digits: more would promise what no rule holds."""
    return float(f"{value:.4g}")
