"""Go durations such as ``60s``, ``1m30s`` or ``1.5h``, ported from ``time.ParseDuration``."""

from __future__ import annotations

import re
from decimal import Decimal

NANOSECONDS = 1_000_000_000
"""In a second."""

_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
}


def parse_duration(text: str) -> float:
    """Seconds in a Go duration, exact to the nanosecond as in Go.

    Raises:
        ValueError: it is no duration, or does not fit into 64 bits of nanoseconds.
    """
    nanoseconds = _nanoseconds(text)
    if nanoseconds is None or abs(nanoseconds) >= 2**63:
        raise ValueError(f'"{text}" is not a duration; write one with its unit, like "60s" or "1m30s"')
    return nanoseconds / NANOSECONDS


def is_whole_seconds(seconds: float) -> bool:
    """Whether a duration has no fraction of a second."""
    return seconds == int(seconds)


def _nanoseconds(text: str) -> int | None:
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total, position = 0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            return None
        total += int(Decimal(part[1]) * _UNITS[part[2]])
        position = part.end()
    return sign * total if rest else None
