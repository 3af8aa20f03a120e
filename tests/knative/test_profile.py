"""Profiles: reading, refusing, interpolating, and those that come with Yiwen."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.profiling.profile import ProfileError, StepTable, load_profile, read_profile, shipped_profiles
from tests.knative.profiles import profile

TABLE = StepTable((1, 8, 32), (64, 256), ((0.010, 0.013), (0.017, 0.024), (0.041, 0.060)), 1e-6)


def test_a_profile_reads_back_what_it_wrote() -> None:
    written = json.loads(json.dumps(profile().to_json()))
    assert read_profile(written, "PROFILE.json") == profile()


def test_a_measured_point_is_itself() -> None:
    for row, slots in enumerate(TABLE.slots):
        for column, context_tokens in enumerate(TABLE.context_tokens):
            assert TABLE.at(slots, context_tokens) == pytest.approx(TABLE.seconds[row][column])


def test_between_points_it_is_bilinear() -> None:
    assert TABLE.at(4.5, 64) == pytest.approx((0.010 + 0.017) / 2)
    assert TABLE.at(1, 160) == pytest.approx((0.010 + 0.013) / 2)
    assert TABLE.at(4.5, 160) == pytest.approx((0.010 + 0.013 + 0.017 + 0.024) / 4)


def test_beyond_the_columns_each_token_of_each_sequence_costs_its_time() -> None:
    assert TABLE.at(8, 356) == pytest.approx(0.024 + 100 * 8 * 1e-6)
    assert TABLE.at(8, 0) == pytest.approx(0.017 - 64 * 8 * 1e-6)


def test_above_the_last_row_the_slope_goes_on() -> None:
    assert TABLE.at(56, 64) == pytest.approx(0.041 + 0.024)


@given(st.floats(1, 64), st.floats(0, 4096), st.floats(0, 30), st.floats(0, 1000))
def test_steps_never_get_faster_with_more_in_them(
    slots: float, context_tokens: float, more: float, longer: float
) -> None:
    assert 0 < TABLE.at(slots, context_tokens) <= TABLE.at(slots + more, context_tokens + longer) + 1e-12


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(json.loads(json.dumps(profile().to_json())))
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("slots"), "PROFILE.json.slots is missing: add it"),
        (lambda d: d.update(slot=4), "has the unknown field slot: remove it"),
        (lambda d: d.update(schema=2), "schema must be 1: measure it again"),
        (lambda d: d.update(slots="four"), "PROFILE.json.slots must be a whole number, not a string"),
        (lambda d: d.update(slots=0), "PROFILE.json.slots is 0, it must be at least 1"),
        (lambda d: d.update(slots=64), "step was measured up to 4 only"),
        (lambda d: d.update(kind="guessed"), "kind must be one of measured, derived"),
        (lambda d: d.update(kind="derived"), "derivation must say how a derived profile was derived"),
        (lambda d: d.update(derivation="halved"), 'derivation must be "" for a measured profile'),
        (lambda d: d["step"].update(slots=[4, 1]), "step.slots must rise"),
        (lambda d: d["step"].update(slots=[2, 4]), "step.slots must begin with 1"),
        (lambda d: d["step"].update(seconds=[[0.1, 0.2]]), "must have 2 rows"),
        (lambda d: d["step"].update(seconds=[[0.1, 0.0], [0.1, 0.2]]), "must be above 0 everywhere"),
        (lambda d: d["step"].update(seconds=[[0.1, -1], [0.1, 0.2]]), "must hold no negative number"),
        (lambda d: d.update(start_seconds=float("nan")), "start_seconds must be a finite number"),
        (
            lambda d: d.update(request_overhead_seconds=-1),
            "request_overhead_seconds is -1, it must be at least 0",
        ),
        (lambda d: d["memory"].update(weight_bytes=1.5), "weight_bytes must be a whole number"),
        (lambda d: d["release"].update(shape={"layers": 1}), "release.shape.hidden is missing"),
        (
            lambda d: d.update(provenance={"step": "trust me"}),
            "provenance.step must begin with one of measured",
        ),
        (lambda d: d.update(memory=[]), "PROFILE.json.memory must be an object"),
    ],
)
def test_a_broken_profile_names_the_field_and_the_fix(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        read_profile(broken(change), "PROFILE.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(rule=d.pop("derivation")), "field rule, did you mean derivation"),
        (
            lambda d: d["step"].update(past=d["step"].pop("context_tokens")),
            r"PROFILE.json.step has the unknown field past, did you mean context_tokens",
        ),
    ],
)
def test_a_former_name_of_a_field_is_refused_with_the_new_one(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        read_profile(broken(change), "PROFILE.json")


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ProfileError, match="must be an object with named fields, not a list"):
        read_profile([], "PROFILE.json")


def test_a_profile_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"measure one with `yiwen profile.*7b-h200-full-int8"):
        load_profile(tmp_path / "PROFILE.json")
    (tmp_path / "PROFILE.json").write_text("{", encoding="utf-8")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "PROFILE.json")


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_are_whole_and_say_where_they_are_from(name: str) -> None:
    shipped = load_profile(name)
    assert shipped.name == name
    assert {"step", "prefill_seconds_per_token", "start_seconds", "memory"} <= set(shipped.provenance)
    assert shipped.step_seconds(shipped.slots, 64) >= shipped.step_seconds(1, 64)
