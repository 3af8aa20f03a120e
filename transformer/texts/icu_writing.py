"""Writes the translation of a part of an ICU message: literal text quoted, arguments in their places. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from transformer.texts.icu_syntax import quoted_literal


@dataclass(frozen=True, slots=True)
class IcuWriting:
    """How literal text of a message is written."""

    in_plural: bool
    """Whether ``#`` stands for a number."""
    doubles: bool
    """Whether all apostrophes are doubled, as in the source."""

    def written(self, text: str) -> str:
        """``text``, up to the next argument, as literal text."""
        return quoted_literal(text, in_plural=self.in_plural, doubles=self.doubles)


def split_at_marks(text: str, marks: Sequence[str]) -> list[str | int] | None:
    """The text between marks, and the numbers of the marks, in the order of ``text``; None unless each is there once.

    Args:
        text: a translation.
        marks: what stands for arguments in it. Equal ones mean the same.
    """
    if not marks:
        return [text]
    numbers: defaultdict[str, deque[int]] = defaultdict(deque)
    for number, mark in enumerate(marks):
        numbers[mark].append(number)
    expression = re.compile("(" + "|".join(map(re.escape, numbers)) + ")")
    pieces = expression.split(text)
    if Counter(pieces[1::2]) != Counter(marks):
        return None
    return [
        numbers[piece].popleft() if place % 2 else piece
        for place, piece in enumerate(pieces)
        if piece or place % 2
    ]
