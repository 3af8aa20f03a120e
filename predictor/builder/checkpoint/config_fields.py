"""Reads single fields of ``config.json`` strictly: another type or range is an error that names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

CONFIG_FILE = "config.json"

Config = Mapping[str, Any]


def positive(config: Config, field: str, *, default: int | None = None, most: int | None = None) -> int:
    """A positive integer.

    Args:
        config: the object that holds it.
        field: its name.
        default: the value if it is missing or null.
        most: the largest value.

    Raises:
        BrokenCheckpoint: it is none, is too large, or is missing and has no default.
    """
    value = config.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {field} must be a positive integer, not {value!r}")
    if most is not None and value > most:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {field} must be at most {most}, not {value}")
    return value


def spelled(config: Config, fields: Sequence[str], *, default: int | None = None) -> int:
    """A positive integer that one of several fields holds, or all of them alike.

    Args:
        config: the object that holds it.
        fields: its names.
        default: the value if it is missing or null.

    Raises:
        BrokenCheckpoint: as in :func:`positive`.
        UnsupportedModel: two of the fields differ.
    """
    found = {field: config[field] for field in fields if config.get(field) is not None}
    if len(set(map(repr, found.values()))) > 1:
        raise UnsupportedModel(f"{CONFIG_FILE}: {' and '.join(found)} disagree; keep one of them")
    return positive(config, next(iter(found), fields[0]), default=default)


def number(config: Config, field: str, *, where: str = "", default: float | None = None) -> float:
    """A positive number.

    Args:
        config: the object that holds it.
        field: its name.
        where: path of the object, for messages; ends with a dot.
        default: the value if it is missing or null.

    Raises:
        BrokenCheckpoint: it is none, or is missing and has no default.
    """
    value = config.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {where}{field} must be a positive number, not {value!r}")
    return float(value)


def boolean(config: Config, field: str) -> bool:
    """True or false; false if it is missing.

    Raises:
        BrokenCheckpoint: it is neither.
    """
    value = config.get(field, False)
    if not isinstance(value, bool):
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {field} must be true or false, not {value!r}")
    return value


def require(config: Config, field: str, wanted: str | float) -> None:
    """Refuse a field that is set to anything else.

    Raises:
        UnsupportedModel: it is.
    """
    value = config.get(field)
    if value is not None and value != wanted:
        raise UnsupportedModel(f"{CONFIG_FILE}: {field} is {value!r}; supported: {wanted!r}")
