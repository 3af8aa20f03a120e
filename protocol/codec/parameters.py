"""Strict reading of request parameters.

gRPC carries booleans, whole numbers and strings only, so a fraction may come as text. Parameters that clients of
other servers set by themselves (:data:`COMMON`) pass everywhere. Errors name known parameters only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from protocol.errors import InvalidRequest
from protocol.fast_dataclass import fast_dataclass
from protocol.suggestions import nearest

BINARY_OUTPUT = "binary_data_output"
"""Protocol parameter: every output comes in the binary form."""
TIMEOUT = "timeout"
"""Triton's parameter for the deadline: microseconds, 0 for none."""
PRIORITY = "priority"
"""Triton's parameter; accepted, without effect."""
CONTENT_TYPE = "content_type"
"""MLServer's parameter, how a client encodes its data (``str``); accepted, without effect."""
COMMON = (BINARY_OUTPUT, TIMEOUT, PRIORITY, CONTENT_TYPE)
"""Parameters that are known of every model."""

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


@fast_dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one request."""

    values: Mapping[str, object]

    @classmethod
    def of(cls, values: Mapping[str, object] | None, known: Sequence[str]) -> Parameters:
        """Take ``values`` if every name is in ``known``.

        Raises:
            InvalidRequest: a name is not; the message offers the nearest known one.
        """
        values = values or {}
        for name in values:
            if name not in known and name not in COMMON:
                near = nearest(name, known)
                hint = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
                raise InvalidRequest(f"unknown parameter: {hint}")
        return cls(values)

    def text(self, name: str) -> str | None:
        """A string that is not empty, or None if the parameter is absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise InvalidRequest(f"parameter {name} must be a string that is not empty")
        return value

    def integer(self, name: str, *, low: int, high: int = INT32_MAX) -> int | None:
        """A whole number in [low, high], or None if the parameter is absent.

        Args:
            name: of the parameter.
            low: smallest value accepted.
            high: largest value accepted.

        Raises:
            InvalidRequest: it is none.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise InvalidRequest(f"parameter {name} must be a whole number from {low} to {high}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean, also as 0 or 1, as a number or a string; ``default`` if the parameter is absent.

        Raises:
            InvalidRequest: it is none.
        """
        value = self.values.get(name)
        if value is None:
            return default
        written = str(value).lower() if isinstance(value, (bool, int, str)) else ""
        if written not in ("true", "false", "1", "0"):
            raise InvalidRequest(f"parameter {name} must be true or false")
        return written in ("true", "1")

    def deadline_ms(self) -> int | None:
        """The shorter of ``deadline_ms`` and Triton's ``timeout``, in milliseconds; None if there is neither."""
        timeout_us = self.integer(TIMEOUT, low=0, high=INT64_MAX)
        timeout_ms = min(-(-timeout_us // 1000), INT32_MAX) if timeout_us else None
        given = [value for value in (self.integer("deadline_ms", low=1), timeout_ms) if value is not None]
        return min(given, default=None)

    def number(self, name: str, *, low: float, high: float = math.inf, above: bool = False) -> float | None:
        """A finite number in [low, high], or (low, high] if ``above``; None if the parameter is absent.

        Args:
            name: of the parameter.
            low: lower bound.
            high: largest value accepted.
            above: whether ``low`` itself is refused.

        Raises:
            InvalidRequest: it is none.
        """
        value = self.values.get(name)
        if value is None:
            return None
        number = _as_float(value)
        inside = (low < number if above else low <= number) and number <= high and math.isfinite(number)
        if not inside:
            range_ = f"{'above' if above else 'at least'} {low:g}"
            range_ += "" if math.isinf(high) else f" and at most {high:g}"
            raise InvalidRequest(f"parameter {name} must be a number {range_}")
        return number


def _as_float(value: object) -> float:
    """``value`` as a float; NaN, which is in no range, if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
