"""Writes the translation of a part of an ICU message: literal text quoted, arguments in their places. Pure."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from transformer.texts.icu_syntax import quoted_literal

MARK = re.compile(r"\{\w{1,64}\}")
"""What stands for an argument in the text that the model reads."""


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
    numbers: defaultdict[str, deque[int]] = defaultdict(deque)
    for number, mark in enumerate(marks):
        numbers[mark].append(number)
    pieces: list[str | int] = []
    at = 0
    for found in MARK.finditer(text):
        if found.group() not in numbers:
            continue
        if not numbers[found.group()]:
            return None
        pieces += [text[at : found.start()], numbers[found.group()].popleft()]
        at = found.end()
    if any(numbers.values()):
        return None
    return [piece for piece in [*pieces, text[at:]] if piece != ""]
