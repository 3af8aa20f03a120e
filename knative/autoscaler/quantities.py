"""Parses numbers, durations and booleans of ConfigMaps and annotations as Go does.

Ported from Go's ``strconv``, as Knative calls it. One difference: NaN, infinities and hexadecimal floats, which Go
accepts, are refused, since no setting of Knative works with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from knative.errors import ConfigError
from protocol.kubernetes import durations

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INT = re.compile(r"[+-]?[0-9]+")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_float(key: str, text: str) -> float:
    """The number in ``text``; ConfigError if it is none, or not finite."""
    value = float(text) if _FLOAT.fullmatch(text) else float("inf")
    if value in (float("inf"), float("-inf")):
        raise ConfigError(f'{key} = "{text}" is not a finite number; write one like "70" or "0.7"')
    return value


def parse_int32(key: str, text: str) -> int:
    """The whole number in ``text``; ConfigError if it is none, or does not fit into 32 bits."""
    if not _INT.fullmatch(text):
        raise ConfigError(f'{key} = "{text}" is not a whole number; write one like "3"')
    value = int(text) if len(text) < 64 else INT32_MAX + 1
    if not INT32_MIN <= value <= INT32_MAX:
        raise ConfigError(f'{key} = "{text}" does not fit into 32 bits; write at most {INT32_MAX}')
    return value


def parse_bool(key: str, text: str) -> bool:
    """The boolean in ``text``, in Go's spellings; ConfigError if it is none."""
    if text not in _TRUE | _FALSE:
        raise ConfigError(f'{key} = "{text}" is not a boolean; write "true" or "false"')
    return text in _TRUE


def parse_duration(key: str, text: str) -> float:
    """Seconds in a Go duration such as ``60s``, ``1m30s`` or ``1.5h``; ConfigError if it is none."""
    try:
        return durations.parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{key} = {error}") from None


def parse_not_negative(key: str, text: str) -> int:
    """The whole number in ``text``; ConfigError if it is none, or negative, or does not fit into 32 bits."""
    value = parse_int32(key, text)
    if value < 0:
        raise ConfigError(f'{key} = "{text}" is negative; write 0 or more')
    return value


def between(
    parse: Callable[[str, str], float], low: float, high: float, hint: str
) -> Callable[[str, str], float]:
    """A parser that also checks bounds.

    Args:
        parse: makes a number of key and text.
        low: smallest value accepted.
        high: largest value accepted.
        hint: what to write instead, for the message.

    Returns:
        A function like ``parse`` that raises ConfigError for a value outside of [low, high].
    """

    def check(key: str, text: str) -> float:
        value = parse(key, text)
        if not low <= value <= high:
            raise ConfigError(f'{key} = "{text}" is out of bounds; write {hint}')
        return value

    return check


def whole_seconds(key: str, text: str, low: float, high: float, hint: str) -> float:
    """A duration in whole seconds.

    Args:
        key: of the setting, for the message.
        text: a Go duration such as ``60s``.
        low: smallest value accepted, seconds.
        high: largest value accepted, seconds.
        hint: what to write instead, for the message.

    Raises:
        ConfigError: it is no duration, out of bounds, or has parts of a second.
    """
    value = between(parse_duration, low, high, hint)(key, text)
    if not durations.is_whole_seconds(value):
        raise ConfigError(f'{key} = "{text}" must be whole seconds; write one like "60s"')
    return value
