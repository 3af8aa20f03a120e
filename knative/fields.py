"""Reads a JSON or YAML mapping strictly: every field once, typed, none left over; errors name field and fix."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any


class FieldsError(Exception):
    """A document breaks a rule; the message names where and what to write instead."""


class Fields:
    """The fields of one mapping, taken out one by one."""

    def __init__(self, document: object, place: str) -> None:
        """Begin to read.

        Args:
            document: what a parser made.
            place: where it is, for messages, e.g. ``PROFILE.json.step``.

        Raises:
            FieldsError: it is no mapping.
        """
        if not isinstance(document, Mapping):
            raise FieldsError(f"{place} must be an object with named fields, not {_kind(document)}")
        self.place = place
        self._document: Mapping[str, Any] = document
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether there is such a field, and it is not null."""
        return self._document.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """A string that is one of ``choices``."""
        value = self.text(name, default)
        if value not in choices:
            raise FieldsError(f"{self.place}.{name} must be one of {', '.join(choices)}")
        return value

    def integer(self, name: str, *, least: int | None = None, default: int | None = None) -> int:
        """A whole number."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, value, "a whole number")
        if least is not None and value < least:
            raise FieldsError(f"{self.place}.{name} is {value}, it must be at least {least}")
        return value

    def number(
        self, name: str, *, least: float = 0.0, most: float = math.inf, default: float | None = None
    ) -> float:
        """A finite number within bounds."""
        value = self._number(name, self._take(name, default))
        if not least <= value <= most:
            bounds = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
            raise FieldsError(f"{self.place}.{name} is {value:g}, it must be {bounds}")
        return value

    def numbers(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """A list of numbers, none negative."""
        return self._row(name, self._take(name, default))

    def matrix(self, name: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers, none negative."""
        rows = self._take(name, None)
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise self._wrong(name, rows, "a list of lists of numbers")
        return tuple(self._row(f"{name}[{index}]", row) for index, row in enumerate(rows))

    def texts(self, name: str) -> dict[str, str]:
        """A mapping of strings to strings."""
        value = self._take(name, None)
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
            raise self._wrong(name, value, "an object of strings")
        return {str(key): text for key, text in value.items()}

    def strings(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of strings."""
        value = self._take(name, default)
        if (
            isinstance(value, str)
            or not isinstance(value, Sequence)
            or not all(isinstance(v, str) for v in value)
        ):
            raise self._wrong(name, value, "a list of strings")
        return tuple(value)

    def boolean(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def inner(self, name: str) -> Fields:
        """A mapping in this one."""
        return Fields(self._take(name, None), f"{self.place}.{name}")

    def inner_if_any(self, name: str) -> Fields | None:
        """The same, None if it is null or not there."""
        value = self._take(name, ())
        return Fields(value, f"{self.place}.{name}") if value != () else None

    def entries(self, name: str) -> tuple[Fields, ...]:
        """A list of mappings; none if there is no such field."""
        rows = self._take(name, ())
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise self._wrong(name, rows, "a list of objects")
        return tuple(Fields(row, f"{self.place}.{name}[{index}]") for index, row in enumerate(rows))

    def finish(self) -> None:
        """Say that nothing is left to read.

        Raises:
            FieldsError: there are fields that nobody asked for.
        """
        unknown = sorted(str(name) for name in self._document if name not in self._taken)
        if unknown:
            raise FieldsError(
                f"{self.place} has the unknown field {unknown[0]}: remove it, or look for a typing error; "
                f"known are {', '.join(sorted(self._taken))}"
            )

    def _take(self, name: str, default: object) -> object:
        self._taken.add(name)
        value = self._document.get(name)
        if value is None:
            if default is None:
                raise FieldsError(f"{self.place}.{name} is missing: add it")
            return default
        return value

    def _row(self, name: str, row: object) -> tuple[float, ...]:
        if not isinstance(row, Sequence) or isinstance(row, str):
            raise self._wrong(name, row, "a list of numbers")
        values = tuple(self._number(f"{name}[{index}]", value) for index, value in enumerate(row))
        if any(value < 0 for value in values):
            raise FieldsError(f"{self.place}.{name} must hold no negative number")
        return values

    def _number(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, value, "a number")
        if not abs(value) <= sys.float_info.max:
            raise FieldsError(f"{self.place}.{name} must be a finite number")
        return float(value)

    def _wrong(self, name: str, value: object, wanted: str) -> FieldsError:
        return FieldsError(f"{self.place}.{name} must be {wanted}, not {_kind(value)}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {
        "str": "a string", "dict": "an object", "list": "a list", "bool": "true or false", "float": "a number",
        "int": "a number",
    }.get(type(value).__name__, type(value).__name__)  # fmt: skip
