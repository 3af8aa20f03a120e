"""Kubernetes quantities such as ``500m`` and ``16Gi`` (``resource.Quantity`` of k8s.io/apimachinery).

``kubernetes.utils.quantity`` is not used: its import loads the whole client (2 s), and it takes ``NaN`` and ``True``.
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_EXPONENTS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(text: object) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: it is no quantity.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity such as 500m, 2 or 16Gi")
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    if suffix in _BINARY_EXPONENTS:
        return Decimal(number) * Decimal(2) ** _BINARY_EXPONENTS[suffix]
    return Decimal(number).scaleb(_DECIMAL_EXPONENTS[suffix or ""])


def quantity_or_zero(text: object) -> Decimal:
    """As :func:`parse_quantity`, with 0 for what is no quantity."""
    try:
        return parse_quantity(text)
    except ValueError:
        return Decimal(0)
