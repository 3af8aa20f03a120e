"""Suggestions for misspelled names in error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 200
"""Characters. A longer name is like none: comparing it would take time in proportion to its length."""


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name most like ``name``; None if none is like it.

    Args:
        name: as it was written.
        known: names that would have been right.
        cutoff: least similarity, from 0 (any) to 1 (equal), as :func:`difflib.get_close_matches` measures it.
    """
    if len(name) > _LONGEST_NAME:
        return None
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``, did you mean X?`` for the end of an error message; empty if no known name is similar.

    Args:
        name: as it was written.
        known: the names there are.
        cutoff: least similarity, 0 to 1 (:func:`difflib.get_close_matches`).
    """
    near = nearest(name, known, cutoff=cutoff)
    return "" if near is None else f", did you mean {near}?"
