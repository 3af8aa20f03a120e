"""Small profiles for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from knative.profiling.profile import MemoryProfile, PredictorProfile, ProfiledRelease, StepTable


def profile(**changes: object) -> PredictorProfile:
    """Four slots; a step takes 10 ms for one sequence and 16 ms for four, whatever they hold."""
    made = PredictorProfile(
        name="tiny",
        kind="measured",
        derivation="",
        hardware="a test",
        slice="full",
        release=ProfiledRelease("0123456789abcdef", "tiny", None),
        precision="float32",
        slots=4,
        max_sequence_tokens=256,
        prefill_tokens=64,
        step=StepTable((1, 4), (0, 256), ((0.010, 0.010), (0.016, 0.016)), 0.0),
        prefill_seconds_per_token=0.001,
        prefill_step_seconds=0.003,
        request_overhead_seconds=0.002,
        start_seconds=5.0,
        memory=MemoryProfile(1000, 10, 100),
        provenance={"step": "assumed: round numbers"},
    )
    return dataclasses.replace(made, **dict[str, Any](changes))
