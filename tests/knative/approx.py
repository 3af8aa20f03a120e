"""``pytest.approx`` as a value of any type, so that it may stand inside tuples and dataclasses that are compared."""

from __future__ import annotations

from typing import Any

import pytest


def approx(expected: float, rel: float | None = None, abs: float | None = None) -> Any:
    return pytest.approx(expected, rel=rel, abs=abs)
