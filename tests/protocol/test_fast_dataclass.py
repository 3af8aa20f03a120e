"""A fast dataclass is one that is frozen, but for the check at run time."""

from __future__ import annotations

import dataclasses

import pytest

from protocol.fast_dataclass import fast_dataclass
from transformer.texts.work_item import WorkItem


@fast_dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int


def test_it_compares_hashes_and_is_replaced_by_its_fields() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 2)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    assert dataclasses.replace(Point(1), y=3) == Point(1, 3)


def test_it_has_no_room_for_other_fields() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 2  # type: ignore[attr-defined]


def test_a_hash_of_its_own_is_kept() -> None:
    item = WorkItem("text", "en", "zh")
    assert hash(item) == hash("text")
    assert item != WorkItem("text", "en", "de")


def test_its_constructor_is_several_times_as_fast_as_that_of_a_frozen_one() -> None:
    """By what it does, not by a clock: no call for each field."""
    calls = [vars(each)["__init__"].__code__.co_names for each in (Point, Frozen)]
    assert ["__setattr__" in names for names in calls] == [False, True]
