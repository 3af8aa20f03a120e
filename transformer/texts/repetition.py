"""Measures how much a text repeats itself, exactly or in other words, and how long it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


def units_of(text: str) -> list[str]:
    """The words of a text, and its letters where the script sets no words apart."""
    return _UNIT.findall(text)


def count_words(text: str, units: Sequence[str]) -> float:
    """About how many words ``text``, whose units these are, has; comparable across scripts."""
    if text.isascii():
        return len(units)
    letters = sum(len(each) == 1 and not each.isascii() for each in units)
    return len(units) - (1.0 - _UNITS_PER_LETTER) * letters


def repeated_share(units: Sequence[str], negligible: float = 0.0) -> float:
    """The share of a text's words and of its pairs of words that it has had before; 0 for a short text.

    Pairs count in either order, and words by their first letters, so that a sentence in other words is a repetition.

    Args:
        units: as :func:`units_of` gives them.
        negligible: a share of no more than this may be returned as 0.
    """
    if len(units) < _MIN_UNITS:
        return 0.0
    stems = [each[:_STEM].lower() for each in units]
    words, total = len(set(stems)), 2 * len(stems) - 1
    if 2 * words - 1 >= (1.0 - negligible) * total:
        return 0.0  # each word comes first in a pair that has not been there
    pairs = {(one, other) if one < other else (other, one) for one, other in pairwise(stems)}
    return 1.0 - (words + len(pairs)) / total
