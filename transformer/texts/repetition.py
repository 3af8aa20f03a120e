"""Measures how much a text repeats itself, exactly or in other words, and how long it is. Pure."""

from __future__ import annotations

import re
from itertools import pairwise

_UNIT = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f\U00020000-\U0003347f]"
    r"|[^\W_]+(?:['’][^\W_]+)*"
)
"""A letter of a script that sets no words apart, or a word."""
_UNITS_PER_LETTER = 0.6
_STEM = 5
"""Letters of a word that are compared: its ending may change."""
_MIN_UNITS = 12
"""Shorter texts have no repetition to speak of."""


def text_units(text: str) -> float:
    """About how many words a text has, comparable across scripts."""
    return sum(1.0 if len(each) > 1 or each.isascii() else _UNITS_PER_LETTER for each in _UNIT.findall(text))


def repeated_share(text: str) -> float:
    """The share of a text's words and of its pairs of words that it has had before; 0 for a short text.

    Pairs count in either order, and words by their first letters, so that a sentence in other words is a repetition.
    """
    units = [each[:_STEM].lower() for each in _UNIT.findall(text)]
    if len(units) < _MIN_UNITS:
        return 0.0
    pairs = {tuple(sorted(pair)) for pair in pairwise(units)}
    distinct = len(set(units)) + len(pairs)
    return 1.0 - distinct / (2 * len(units) - 1)
