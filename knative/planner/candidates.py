"""The candidates of a plan: every slice and precision of the GPUs, each with a measured or derived profile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import GPUS, MEASURED
from knative.planner.hardware.derive import DerivationTarget, derive_profile, slots_that_fit
from knative.planner.hardware.gpus import GpuModel, GpuSlice
from knative.planner.hardware.host import pod_request, pods_per_gpu
from knative.planner.request import HostLimits, PlanCandidate
from knative.profiling.model_shape import ModelShape
from knative.profiling.profile import PredictorProfile, load_profile

PRECISIONS = ("float16", "int8")
"""Precisions that a plan can have."""
NO_LIMITS = HostLimits()


def make_candidates(
    model: ModelShape,
    gpus: Iterable[GpuModel],
    max_sequence_tokens: int,
    measured: Sequence[PredictorProfile],
    host: HostLimits = NO_LIMITS,
) -> tuple[PlanCandidate, ...]:
    """All slices of some GPUs, in every precision.

    Args:
        model: what is served.
        gpus: the GPUs to choose from.
        max_sequence_tokens: tokens of a slot.
        measured: profiles of the caller's own; they take the place of a derived one where hardware, slice, precision
            and model are theirs.
        host: CPUs and memory of nodes and pods.

    Raises:
        PlanError: the slots of one of these are shorter than ``max_sequence_tokens``.
    """
    return tuple(
        _candidate(DerivationTarget(gpu, gpu_slice, model), precision, max_sequence_tokens, measured, host)
        for gpu in gpus
        for gpu_slice in gpu.slices
        for precision in PRECISIONS
    )


def _candidate(
    target: DerivationTarget,
    precision: str,
    max_sequence_tokens: int,
    measured: Sequence[PredictorProfile],
    host: HostLimits,
) -> PlanCandidate:
    # A 7B model was measured on these, whole and in every precision; slices are derived from the same GPU's profile.
    measured_on = GPUS[target.gpu.key if target.gpu.key in MEASURED else MEASURED[0]]
    reference = load_profile(f"7b-{measured_on.key}-full-{precision}")
    own = next((profile for profile in measured if _is_of(profile, target, precision)), None)
    if own is not None:
        _check_slot_length(own, max_sequence_tokens)
    profile = own or (reference if _is_of(reference, target, precision) else None)
    other_bytes = (profile.memory.other_bytes if profile else 0) or reference.memory.other_bytes
    slots = slots_that_fit(target, precision, other_bytes, max_sequence_tokens)
    slots = min(slots, (profile or reference).slots)
    if profile is None and slots:
        profile = derive_profile(
            reference,
            DerivationTarget(measured_on, measured_on.slices[-1], reference_model(reference)),
            target,
            slots=slots,
            max_sequence_tokens=max_sequence_tokens,
        )
    weights = target.model.weight_bytes(precision)
    pod = pod_request(target.gpu_slice, weights, host.pod_cpus, host.pod_memory_bytes)
    return PlanCandidate(
        gpu=target.gpu,
        gpu_slice=target.gpu_slice,
        precision=precision,
        profile=replace(profile, slots=slots, max_sequence_tokens=max_sequence_tokens)
        if profile and slots
        else None,
        weight_bytes=weights,
        kv_bytes_per_token=target.model.kv_bytes_per_token,
        slice_bytes=target.gpu.slice_bytes(target.gpu_slice),
        slots=slots,
        host=pod,
        pods_per_gpu=pods_per_gpu(target.gpu_slice, pod, host.node),
    )


def check_profiles(
    measured: Sequence[PredictorProfile], candidates: Sequence[PlanCandidate], model: ModelShape
) -> None:
    """Refuse a profile of the caller that no candidate uses.

    Args:
        measured: the caller's own, as :func:`make_candidates` had them.
        candidates: of the plan.
        model: what is served.

    Raises:
        PlanError: a profile would be ignored; the message says why and what to do.
    """
    for number, profile in enumerate(measured):
        reason = _why_unused(profile, candidates, model)
        if any(_place(profile) == _place(earlier) for earlier in measured[:number]):
            reason = "another --profile of the same hardware, slice and precision comes before it: give one of them"
        if reason:
            raise PlanError(f"profile {profile.name} cannot be used: {reason}")


def _why_unused(profile: PredictorProfile, candidates: Sequence[PlanCandidate], model: ModelShape) -> str:
    known = {gpu.name: gpu for gpu in (*GPUS.values(), *(candidate.gpu for candidate in candidates))}
    gpu = known.get(profile.hardware)
    if gpu is None:
        return (
            f"the catalogue has no {profile.hardware!r}; measure it with one of these as --hardware: "
            f"{', '.join(known)}; or describe it in a --gpu-file"
        )
    if profile.release.shape is None:
        return "it does not say what model it is of; measure it again with --release"
    if profile.release.shape != model.decoder:
        return f"it is of another model, {profile.release.name or 'unnamed'}; give that one as --checkpoint"
    if profile.precision not in PRECISIONS:
        return f"its precision is {profile.precision}; plans have {', '.join(PRECISIONS)}"
    slice_of(gpu, profile.slice)
    if not any(_place(profile) == _place_of(candidate) for candidate in candidates):
        wanted = f"--gpu {gpu.key} --slice {profile.slice} --precision {profile.precision}"
        return f"its option is not planned with; plan it too, as with {wanted}"
    return ""


def _check_slot_length(profile: PredictorProfile, max_sequence_tokens: int) -> None:
    """Refuse slots longer than those that were measured: their step times are not known."""
    if max_sequence_tokens > profile.max_sequence_tokens:
        raise PlanError(
            f"profile {profile.name} cannot be used: its slots had {profile.max_sequence_tokens} tokens, and "
            f"--max-tokens asks for {max_sequence_tokens}; measure a release with longer ones, or give --max-tokens "
            f"{profile.max_sequence_tokens}"
        )


def reference_model(reference: PredictorProfile) -> ModelShape:
    """The model that a reference profile is of.

    Raises:
        PlanError: the profile has no shape.
    """
    if reference.release.shape is None:
        raise PlanError(
            f"profile {reference.name} does not say what model it is of: give release.shape in its file"
        )
    return ModelShape(reference.release.name, reference.release.shape, tied=False)


def _is_of(profile: PredictorProfile, target: DerivationTarget, precision: str) -> bool:
    place = (target.gpu.name, target.gpu_slice.name, precision)
    return _place(profile) == place and profile.release.shape == target.model.decoder


def _place(profile: PredictorProfile) -> tuple[str, str, str]:
    return profile.hardware, profile.slice, profile.precision


def _place_of(candidate: PlanCandidate) -> tuple[str, str, str]:
    return candidate.gpu.name, candidate.gpu_slice.name, candidate.precision


def slice_of(gpu: GpuModel, name: str) -> GpuSlice:
    """A GPU's slice by its name.

    Raises:
        PlanError: it has no slice of that name.
    """
    for gpu_slice in gpu.slices:
        if gpu_slice.name == name:
            return gpu_slice
    raise PlanError(
        f"{gpu.name} has no slice {name}: it has {', '.join(gpu_slice.name for gpu_slice in gpu.slices)}"
    )
