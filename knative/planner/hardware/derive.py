"""Derives a profile for hardware or a model that was not measured from a measured profile.

The rules, in their order:

- A part of a step is kernel launches, :data:`LAUNCH_SECONDS` per layer on every GPU.
- The rest is bound by memory bandwidth: it scales with the bytes read (weights and the K/V of the sequences) and with
  the inverse bandwidth. The measured step's efficiency is assumed everywhere.
- A slice has the bandwidth of its share of memory slices, or of compute slices if that is less.
- No step is shorter than its arithmetic: the time that as many prompt tokens take.
- The overhead of a request and of a step with prompts is the host's, and stays.
- Prefill is bound by arithmetic: it scales with the parameters and the inverse speed of the multiprocessors.

Bandwidth and arithmetic are those of data sheets, so only their ratios matter. Neglected: the smaller L2 cache of a
slice, and the lower efficiency of smaller matrices. :data:`BAND` is the expected error. Checked once: a 7B model's
H100 profile, derived from the H200's, has 0.98 to 1.17 times the measured step times, most with many sequences, and
0.91 to 0.99 times the prefill times (docs/benchmarks/gpu).
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
"""Factors by which the times of a derived profile may be wrong."""


PROVENANCE = {
    "step": "derived: launches, and bytes read over bandwidth; never faster than its arithmetic",
    "prefill_seconds_per_token": "derived: parameters over arithmetic",
    "start_seconds": "derived: in proportion to the weights' bytes",
    "memory": "derived: from the model's shape; other_bytes assumed to be those of the reference",
}


@dataclass(frozen=True, slots=True)
class DerivationTarget:
    """The GPU slice and model of a profile."""

    gpu: GpuModel
    gpu_slice: GpuSlice
    model: ModelShape


def slots_that_fit(
    target: DerivationTarget, precision: str, other_bytes: int, max_sequence_tokens: int
) -> int:
    """Number of slots that fit into memory beside weights and workspace, as the predictor counts them at its start.

    Args:
        target: slice and model.
        precision: of the weights.
        other_bytes: workspace, buffers and what CUDA takes.
        max_sequence_tokens: tokens of a slot.
    """
    available = target.gpu.slice_bytes(target.gpu_slice) * MEMORY_FRACTION
    remaining = available - target.model.weight_bytes(precision) - other_bytes
    return max(0, int(remaining // (target.model.kv_bytes_per_token * max_sequence_tokens)))


def derive_profile(
    reference: PredictorProfile,
    measured_on: DerivationTarget,
    target: DerivationTarget,
    *,
    slots: int,
    max_sequence_tokens: int,
) -> PredictorProfile:
    """A profile by the rules of this module.

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
    """Memory bandwidth of a slice, bytes per second."""
    return target.gpu.bandwidth * min(target.gpu_slice.memory_share, target.gpu_slice.compute_share)


def flops(target: DerivationTarget) -> float:
    """Arithmetic of a slice, 16-bit operations per second."""
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
    """Round to four significant digits."""
    return float(f"{value:.4g}")
