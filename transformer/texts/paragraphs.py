"""Joins lines that were broken for width: those of a paragraph, up to an empty line or a list's item. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from documents.subtitle_lines import join_lines
from protocol.normal_form import inner_range

_ITEM = re.compile(r"\s*(?:[-*+•‣·▪◦–—]|[(\[]?\d{1,3}[.)\]])\s")
"""The beginning of a list's item."""
_SOFT_HYPHEN = "\u00ad"
_HYPHENATED = re.compile(r"[^\W\d_]-\Z")


def joined_paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """The paragraphs of ``text``, each on one line, and what is between them, which is kept.

    Yields:
        A part, and whether it is a paragraph; the lines of a paragraph have no outer white space.
    """
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        start, end = inner_range(line)
        if lines and (start == end or _ITEM.match(line)):
            yield from _with_ends(lines)
            lines = []
        if start == end:
            yield line, False
        else:
            lines.append(line)
    if lines:
        yield from _with_ends(lines)


def _with_ends(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """A paragraph, and the white space at both of its ends."""
    start, end = inner_range(lines[0])[0], inner_range(lines[-1])[1]
    yield lines[0][:start], False
    yield _joined(lines), True
    yield lines[-1][end:], False


def _joined(lines: list[str]) -> str:
    parts: list[str] = []
    before = ""
    for line in lines:
        words = line[slice(*inner_range(line))]
        if parts and not _goes_on(before, words):
            parts.append(join_lines([parts[-1][-1], words[0]])[1:-1])
        parts.append(words)
        before = line.rstrip()
    return "".join(parts)


def _goes_on(line: str, words: str) -> bool:
    """Whether the last word of a line was broken with a hyphen, and goes on with these words."""
    return line.endswith(_SOFT_HYPHEN) or bool(_HYPHENATED.search(line) and words[0].islower())
