"""Predictor profiles: how long the steps of a predictor take and how many bytes it needs, as ``PROFILE.json`` has it.

A profile is measured by ``yiwen profile``, or derived from another one. The simulator takes step times from it, the
planner bytes as well.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from knative.former_names import refuse_former_names
from protocol.release import DecoderShape
from protocol.validation import STRICT, validate

PROFILE_SCHEMA = 1
PROVENANCE_KINDS = ("measured", "fitted", "derived", "assumed")
SHIPPED = Path(__file__).parents[1] / "profiles"
"""Directory of the profiles that come with Yiwen; ``yiwen simulate --profile NAME`` finds them by name."""
RENAMED_FIELDS: Mapping[str, str] = {
    "rule": "derivation",
    "past": "context_tokens",
    "past_seconds_per_token": "seconds_per_context_token",
    "request_seconds": "request_overhead_seconds",
    "prompt_step_seconds": "prefill_step_seconds",
}
"""Former names of fields, and their names now."""

Seconds = Annotated[float, Field(ge=0)]
Bytes = Annotated[int, Field(ge=0)]


class ProfileError(Exception):
    """A profile cannot be used. The message names the file, the field and the fix."""


@dataclass(frozen=True, slots=True, config=STRICT)
class StepTable:
    """Duration of a decode step by batch size and by context length."""

    slots: tuple[int, ...]
    """Sequences in the step, rising, from 1."""
    context_tokens: tuple[int, ...]
    """Mean tokens in the K/V cache per sequence, rising."""
    seconds: tuple[tuple[float, ...], ...]
    """[slots][context_tokens]."""
    seconds_per_context_token: Seconds
    """Seconds per sequence for each token of context, outside of the measured columns."""

    @model_validator(mode="after")
    def _check(self) -> StepTable:
        for name, axis in (("slots", self.slots), ("context_tokens", self.context_tokens)):
            if any(value < 0 for value in axis):
                raise ValueError(f"{name} must hold no negative number")
            if not axis or any(a >= b for a, b in itertools.pairwise(axis)):
                raise ValueError(f"{name} must rise from entry to entry: sort it, drop doubles")
        if self.slots[0] != 1:
            raise ValueError("slots must begin with 1: measure a step of one sequence too")
        rows, columns = len(self.slots), len(self.context_tokens)
        if len(self.seconds) != rows or any(len(row) != columns for row in self.seconds):
            raise ValueError(f"seconds must have {rows} rows (slots) of {columns} (context_tokens)")
        least = min(value for row in self.seconds for value in row)
        if least < 0:
            raise ValueError("seconds must hold no negative number")
        if least == 0:
            raise ValueError("seconds must be above 0 everywhere: a step takes time")
        return self

    def at(self, slots: float, context_tokens: float) -> float:
        """Seconds of a step, by bilinear interpolation between the measured points.

        Outside of the measured columns a step changes by ``seconds_per_context_token`` per sequence and token, and is
        never shorter than half of the nearest column. Above the last row the slope of the last two rows goes on.

        Args:
            slots: sequences in the step, at least 1.
            context_tokens: mean tokens in the K/V cache per sequence.
        """
        row, part = _bracket(self.slots, slots)
        seconds = self._column(row, context_tokens)
        if part:
            seconds += part * (self._column(row + 1, context_tokens) - seconds)
        return seconds

    def _column(self, row: int, context_tokens: float) -> float:
        seconds = self.seconds[row]
        inside = min(max(context_tokens, self.context_tokens[0]), self.context_tokens[-1])
        column, part = _bracket(self.context_tokens, inside)
        value = seconds[column]
        if part:
            value += part * (seconds[column + 1] - value)
        beyond = (context_tokens - inside) * self.slots[row] * self.seconds_per_context_token
        return max(value / 2, value + beyond)


@dataclass(frozen=True, slots=True, config=STRICT)
class MemoryProfile:
    """Bytes on the device, or resident bytes on a CPU."""

    weight_bytes: Bytes
    kv_bytes_per_token: Bytes
    other_bytes: Bytes
    """Workspace, buffers and what the runtime allocates."""


@dataclass(frozen=True, slots=True, config=STRICT)
class ProfiledRelease:
    """The release that was measured."""

    id: str
    name: str
    shape: DecoderShape | None = None
    """None where the predictor does not report it."""

    @model_validator(mode="after")
    def _check(self) -> ProfiledRelease:
        sizes = dataclasses.asdict(self.shape) if self.shape else {}
        for name, size in sizes.items():
            if type(size) is int and size < 1:  # not `shared_kv`, which is no size
                raise ValueError(f"shape.{name} is {size}, it must be at least 1")
        return self


@dataclass(frozen=True, slots=True, config=STRICT)
class PredictorProfile:
    """Performance of a predictor on one device or MIG slice."""

    name: str
    kind: Literal["measured", "derived"]
    derivation: str
    """How it was derived, and from which profile; empty for a measured one."""
    hardware: str
    slice: str
    """MIG profile such as ``1g.18gb``, or ``full``."""
    release: ProfiledRelease
    precision: str
    slots: Annotated[int, Field(ge=1)]
    """Most sequences in a decode step."""
    max_sequence_tokens: Annotated[int, Field(ge=2)]
    """Most tokens of prompt and answer together: the length of a slot."""
    prefill_tokens: Annotated[int, Field(ge=1)]
    """Most prompt tokens in a step; a single prompt may have more."""
    step: StepTable
    prefill_seconds_per_token: Seconds
    """Seconds that a prompt token adds to its step."""
    request_overhead_seconds: Seconds
    """Time of the server per request beside the steps: parsing, checks, answer. Added to the step it joins."""
    start_seconds: Seconds
    """From the start of the process to ready, with its files in the page cache."""
    memory: MemoryProfile
    provenance: Mapping[str, str]
    """By field: ``measured``, ``fitted``, ``derived`` or ``assumed``, a colon, and the source."""
    prefill_step_seconds: Seconds = 0.0
    """Seconds that a step with prompts takes beside their tokens, since on TensorRT it replays no CUDA graph."""

    @model_validator(mode="after")
    def _check(self) -> PredictorProfile:
        if self.kind == "derived" and not self.derivation:
            raise ValueError("derivation must say how a derived profile was derived, and from which")
        if self.kind == "measured" and self.derivation:
            raise ValueError('derivation must be "" for a measured profile; or is its kind derived?')
        if self.slots > 2 * self.step.slots[-1]:
            raise ValueError(
                f"slots is {self.slots} but step was measured up to {self.step.slots[-1]} only: "
                "measure more sequences at once, or lower slots"
            )
        for field, text in self.provenance.items():
            if text.partition(":")[0] not in PROVENANCE_KINDS:
                raise ValueError(
                    f"provenance.{field} must begin with one of {', '.join(PROVENANCE_KINDS)} and a colon"
                )
        return self

    def step_seconds(self, slots: float, context_tokens: float) -> float:
        """Seconds of a decode step of ``slots`` sequences with ``context_tokens`` tokens each on average."""
        return self.step.at(slots, context_tokens)

    def to_json(self) -> dict[str, Any]:
        """The document that :func:`read_profile` reads back."""
        return {"schema": PROFILE_SCHEMA, **dataclasses.asdict(self)}


def load_profile(name: str | Path) -> PredictorProfile:
    """Read a profile by path, or one of those in :data:`SHIPPED` by name.

    Raises:
        ProfileError: there is none, or it is not valid.
    """
    path = Path(name)
    if not path.exists() and (SHIPPED / f"{name}.json").exists():
        path = SHIPPED / f"{name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProfileError(
            f"{name} is no profile: measure one with `yiwen profile --url URL`, or name one of "
            f"{', '.join(shipped_profiles())}"
        ) from error
    except (OSError, ValueError) as error:
        raise ProfileError(f"{path} cannot be read: {error}") from error
    return read_profile(document, str(path))


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with Yiwen."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.json")))


def read_profile(document: object, place: str) -> PredictorProfile:
    """A profile from its JSON document.

    Args:
        document: what :meth:`PredictorProfile.to_json` makes.
        place: where it is from, for messages.

    Raises:
        ProfileError: it is not valid; the message names the field.
    """
    if isinstance(document, Mapping):
        if document.get("schema") != PROFILE_SCHEMA:
            raise ProfileError(
                f"{place}: schema must be {PROFILE_SCHEMA}: measure it again with `yiwen profile`"
            )
        refuse_former_names(document, RENAMED_FIELDS, place=place, error=ProfileError)
        refuse_former_names(document.get("step"), RENAMED_FIELDS, place=f"{place}.step", error=ProfileError)
        document = {name: value for name, value in document.items() if name != "schema"}
    return validate(PredictorProfile, document, place=place, error=ProfileError)


def _bracket(axis: tuple[int, ...], value: float) -> tuple[int, float]:
    """Index of the entry below ``value``, and where ``value`` lies between that entry and the next, as a fraction.

    Below the first entry it is that one; beyond the last the slope of the last two goes on.
    """
    if value <= axis[0] or len(axis) == 1:
        return 0, 0.0
    index = min(bisect.bisect_right(axis, value) - 1, len(axis) - 2)
    return index, (value - axis[index]) / (axis[index + 1] - axis[index])
