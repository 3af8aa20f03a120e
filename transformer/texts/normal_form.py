"""The form of a text that is translated, cached and compared. Pure."""

from __future__ import annotations

import re
import unicodedata

_LONG_TEXT = 1_000
"""Characters. In a shorter text the number of combining marks in a row does not matter."""
_MANY_MARKS = re.compile(rb"[^\0]{64,}")


def normal_text(text: str) -> str:
    """``text`` in Unicode NFC, without outer white space."""
    text = text.strip()
    if len(text) > _LONG_TEXT and not text.isascii():
        text = _with_sorted_marks(text)
    return unicodedata.normalize("NFC", text)


def _with_sorted_marks(text: str) -> str:
    """``text`` with long runs of combining marks in canonical order.

    The result has the same NFC. Without this, :func:`unicodedata.normalize` takes quadratic time for such runs.
    """
    classes = bytes(map(unicodedata.combining, text))
    parts: list[str] = []
    end = 0
    for run in _MANY_MARKS.finditer(classes):
        by_class: dict[int, list[str]] = {}
        for mark in text[run.start() : run.end()]:
            for part in unicodedata.normalize("NFD", mark):
                by_class.setdefault(unicodedata.combining(part), []).append(part)
        parts.append(text[end : run.start()])
        parts += [mark for _, marks in sorted(by_class.items()) for mark in marks]
        end = run.end()
    return "".join([*parts, text[end:]]) if parts else text
