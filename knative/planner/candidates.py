"""Every slice and precision that a model could be served with, each with the profile it has or would have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knative.planner.demand import Candidate
from knative.planner.derive import Target, derive_profile, slots_that_fit
from knative.planner.errors import PlanError
from knative.planner.gpus import GPUS, Gpu, Slice
from knative.planner.models import WEIGHT_BYTES, ModelShape
from knative.profile import Profile, load_profile

REFERENCES = {precision: f"7b-h200-full-{precision}" for precision in WEIGHT_BYTES}
"""The measured profile that others are derived from."""
REFERENCE_GPU = GPUS["h200"]


def make_candidates(
    model: ModelShape, gpus: Iterable[Gpu], max_sequence_tokens: int, measured: Sequence[Profile]
) -> tuple[Candidate, ...]:
    """All slices of some GPUs, in every precision.

    Args:
        model: what is served.
        gpus: to look at.
        max_sequence_tokens: tokens of a slot.
        measured: profiles of the caller's own; they take the place of a derived one where hardware, slice, precision
            and model are theirs.
    """
    return tuple(
        _candidate(Target(gpu, part, model), precision, max_sequence_tokens, measured)
        for gpu in gpus
        for part in gpu.slices
        for precision in WEIGHT_BYTES
    )


def _candidate(
    target: Target, precision: str, max_sequence_tokens: int, measured: Sequence[Profile]
) -> Candidate:
    reference = load_profile(REFERENCES[precision])
    slots = slots_that_fit(target, precision, reference.memory.other_bytes, max_sequence_tokens)
    slots = min(slots, reference.slots)
    profile = next((own for own in (*measured, reference) if _is_of(own, target, precision)), None)
    if profile is None and slots:
        measured_on = Target(REFERENCE_GPU, REFERENCE_GPU.slices[-1], reference_model(reference))
        profile = derive_profile(
            reference, measured_on, target, slots=slots, max_sequence_tokens=max_sequence_tokens
        )
    return Candidate(
        gpu=target.gpu,
        part=target.part,
        precision=precision,
        profile=profile if slots else None,
        weight_bytes=target.model.weight_bytes(precision),
        kv_bytes_per_token=target.model.kv_bytes_per_token,
        slice_bytes=target.gpu.slice_bytes(target.part),
        slots=slots,
    )


def reference_model(reference: Profile) -> ModelShape:
    """The model that a reference was measured with.

    Raises:
        PlanError: the profile does not tell its shape.
    """
    if reference.release.shape is None:
        raise PlanError(
            f"profile {reference.name} does not say what model it is of: give release.shape in its file"
        )
    return ModelShape(reference.release.name, reference.release.shape, tied=False)


def _is_of(profile: Profile, target: Target, precision: str) -> bool:
    return (profile.hardware, profile.slice, profile.precision, profile.release.shape) == (
        target.gpu.name,
        target.part.name,
        precision,
        target.model.decoder,
    )


def slice_of(gpu: Gpu, name: str) -> Slice:
    """A GPU's slice by its name.

    Raises:
        PlanError: it has none of that name.
    """
    for part in gpu.slices:
        if part.name == name:
            return part
    raise PlanError(f"{gpu.name} has no slice {name}: it has {', '.join(part.name for part in gpu.slices)}")
