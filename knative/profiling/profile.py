"""PROFILE.json: what a predictor can do, as frozen types. Measured by ``yiwen profile``, or derived from another one.

The simulator asks it one thing, how long a step takes; the planner also asks for bytes. Reading is strict: an unknown
field, a missing one or an impossible number is refused with the field's name and what to write instead.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knative.fields import Fields, FieldsError
from protocol.release import DecoderShape

PROFILE_SCHEMA = 1
KINDS = ("measured", "derived")
PROVENANCE = ("measured", "fitted", "derived", "assumed")
SHIPPED = Path(__file__).parents[1] / "profiles"
"""Profiles that come with Yiwen; ``yiwen simulate --profile NAME`` finds them by name."""


class ProfileError(Exception):
    """A profile cannot be used. The message names the file, the field and the fix."""


@dataclass(frozen=True, slots=True)
class StepTable:
    """Seconds of a decode step, measured over sequences in it and tokens each of them holds."""

    slots: tuple[int, ...]
    """Sequences in a step, rising, from 1."""
    past: tuple[int, ...]
    """Mean tokens in the cache of each, rising."""
    seconds: tuple[tuple[float, ...], ...]
    """[slots][past]."""
    past_seconds_per_token: float
    """What one more token of past adds per sequence, beyond the measured columns on either side."""

    def at(self, slots: float, past: float) -> float:
        """Seconds of a step: bilinear between what was measured.

        Beyond the columns it grows by ``past_seconds_per_token`` per sequence and token, never falling below half of
        the nearest column. Above the last row it follows the slope of the last two.

        Args:
            slots: sequences in the step, at least 1.
            past: mean tokens that each holds.
        """
        row, part = _bracket(self.slots, slots)
        seconds = self._column(row, past)
        if part:
            seconds += part * (self._column(row + 1, past) - seconds)
        return seconds

    def _column(self, row: int, past: float) -> float:
        seconds = self.seconds[row]
        inside = min(max(past, self.past[0]), self.past[-1])
        column, part = _bracket(self.past, inside)
        value = seconds[column]
        if part:
            value += part * (seconds[column + 1] - value)
        return max(value / 2, value + (past - inside) * self.slots[row] * self.past_seconds_per_token)


@dataclass(frozen=True, slots=True)
class MemoryProfile:
    """Bytes on the device, or resident on a CPU."""

    weight_bytes: int
    kv_bytes_per_token: int
    other_bytes: int
    """Workspace, buffers and what the runtime takes on the side."""


@dataclass(frozen=True, slots=True)
class ProfiledRelease:
    """Which release was measured."""

    id: str
    name: str
    shape: DecoderShape | None
    """None where the predictor does not tell it."""


@dataclass(frozen=True, slots=True)
class PredictorProfile:
    """One predictor on one device, or on one slice of one."""

    name: str
    kind: str
    """``measured`` or ``derived``."""
    rule: str
    """How it was derived, and from which profile; empty for a measured one."""
    hardware: str
    slice: str
    """MIG profile such as ``1g.18gb``, or ``full``."""
    release: ProfiledRelease
    precision: str
    slots: int
    """Sequences that decode together."""
    max_sequence_tokens: int
    """Prompt and answer together: the length of a slot."""
    prefill_tokens: int
    """Prompt tokens one step takes in; one prompt is always let in."""
    step: StepTable
    prefill_seconds_per_token: float
    """What a prompt token adds to the step that reads it."""
    request_seconds: float
    """What a request costs beside its tokens: off the wire, checked, answered. Added to the step it joins."""
    start_seconds: float
    """Start of the process to ready, files in the page cache."""
    memory: MemoryProfile
    provenance: Mapping[str, str]
    """By field: ``measured``, ``fitted``, ``derived`` or ``assumed``, a colon, and where it is from."""
    prompt_step_seconds: float = 0.0
    """What a step that reads prompts takes beside their tokens, however few: on TensorRT it replays no CUDA graph."""

    def step_seconds(self, slots: float, past: float) -> float:
        """Seconds of a decode step of ``slots`` sequences holding ``past`` tokens each on average."""
        return self.step.at(slots, past)

    def to_json(self) -> dict[str, Any]:
        """The document that :func:`read_profile` reads back."""
        return {"schema": PROFILE_SCHEMA, **dataclasses.asdict(self)}


def load_profile(name: str | Path) -> PredictorProfile:
    """Read a profile by path, or one of those in :data:`SHIPPED` by name.

    Raises:
        ProfileError: there is none, or it breaks a rule.
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
        ProfileError: it breaks a rule; the message names the field.
    """
    try:
        fields = Fields(document, place)
        if fields.integer("schema") != PROFILE_SCHEMA:
            raise FieldsError(
                f"{place}: schema must be {PROFILE_SCHEMA}: measure it again with `yiwen profile`"
            )
        profile = _profile(fields)
        fields.finish()
        _check(profile, place)
    except FieldsError as error:
        raise ProfileError(str(error)) from error
    return profile


def _profile(fields: Fields) -> PredictorProfile:
    return PredictorProfile(
        name=fields.text("name"),
        kind=fields.choice("kind", KINDS),
        rule=fields.text("rule"),
        hardware=fields.text("hardware"),
        slice=fields.text("slice"),
        release=_release(fields.inner("release")),
        precision=fields.text("precision"),
        slots=fields.integer("slots", least=1),
        max_sequence_tokens=fields.integer("max_sequence_tokens", least=2),
        prefill_tokens=fields.integer("prefill_tokens", least=1),
        step=_step_table(fields.inner("step")),
        prefill_seconds_per_token=fields.number("prefill_seconds_per_token"),
        request_seconds=fields.number("request_seconds"),
        start_seconds=fields.number("start_seconds"),
        memory=_memory(fields.inner("memory")),
        provenance=fields.texts("provenance"),
        prompt_step_seconds=fields.number("prompt_step_seconds", default=0.0),
    )


def _release(fields: Fields) -> ProfiledRelease:
    shape = fields.inner_if_any("shape")
    names = [field.name for field in dataclasses.fields(DecoderShape)]
    sizes = {name: shape.integer(name, least=1) for name in names} if shape else None
    if shape:
        shape.finish()
    release = ProfiledRelease(
        fields.text("id"), fields.text("name"), DecoderShape(**sizes) if sizes else None
    )
    fields.finish()
    return release


def _memory(fields: Fields) -> MemoryProfile:
    names = [field.name for field in dataclasses.fields(MemoryProfile)]
    memory = MemoryProfile(**{name: fields.integer(name, least=0) for name in names})
    fields.finish()
    return memory


def _step_table(fields: Fields) -> StepTable:
    table = StepTable(
        slots=tuple(int(value) for value in fields.numbers("slots")),
        past=tuple(int(value) for value in fields.numbers("past")),
        seconds=fields.matrix("seconds"),
        past_seconds_per_token=fields.number("past_seconds_per_token"),
    )
    fields.finish()
    for name, axis in (("slots", table.slots), ("past", table.past)):
        if not axis or any(a >= b for a, b in itertools.pairwise(axis)):
            raise FieldsError(f"{fields.place}.{name} must rise from entry to entry: sort it, drop doubles")
    if table.slots[0] != 1:
        raise FieldsError(f"{fields.place}.slots must begin with 1: measure a step of one sequence too")
    if len(table.seconds) != len(table.slots) or any(len(row) != len(table.past) for row in table.seconds):
        raise FieldsError(
            f"{fields.place}.seconds must have {len(table.slots)} rows (slots) of {len(table.past)} (past)"
        )
    if any(value <= 0 for row in table.seconds for value in row):
        raise FieldsError(f"{fields.place}.seconds must be above 0 everywhere: a step takes time")
    return table


def _check(profile: PredictorProfile, place: str) -> None:
    if profile.kind == "derived" and not profile.rule:
        raise FieldsError(f"{place}: rule must say how a derived profile was derived, and from which")
    if profile.kind == "measured" and profile.rule:
        raise FieldsError(f'{place}: rule must be "" for a measured profile; or is its kind derived?')
    if profile.slots > 2 * profile.step.slots[-1]:
        raise FieldsError(
            f"{place}: slots is {profile.slots} but step was measured up to {profile.step.slots[-1]} only: "
            "measure more sequences at once, or lower slots"
        )
    for field, text in profile.provenance.items():
        if text.partition(":")[0] not in PROVENANCE:
            raise FieldsError(
                f"{place}: provenance.{field} must begin with one of {', '.join(PROVENANCE)} and a colon"
            )


def _bracket(axis: tuple[int, ...], value: float) -> tuple[int, float]:
    """Index of the entry below ``value``, and the part of the way to the next.

    Below the first entry it is that one; beyond the last the slope of the last two goes on.
    """
    if value <= axis[0] or len(axis) == 1:
        return 0, 0.0
    index = min(bisect.bisect_right(axis, value) - 1, len(axis) - 2)
    return index, (value - axis[index]) / (axis[index + 1] - axis[index])
