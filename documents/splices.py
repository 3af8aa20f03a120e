"""Replacements at offsets of a source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Splice(NamedTuple):
    """A part of bytes that is replaced."""

    start: int
    end: int
    replacement: bytes


class TextSplice(NamedTuple):
    """A part of a text that is replaced."""

    start: int
    end: int
    replacement: str


def splice_text(source: str, splices: Iterable[TextSplice]) -> str:
    """``source`` with the replacements, which do not overlap."""
    parts: list[str] = []
    at = 0
    for start, end, replacement in sorted(splices):
        parts += source[at:start], replacement
        at = end
    return "".join((*parts, source[at:]))


def splice_bytes(source: bytes, splices: Iterable[Splice], start: int = 0, end: int | None = None) -> bytes:
    """A part of ``source`` with the replacements inside it; an outer one takes precedence over those it covers.

    Args:
        source: all bytes.
        splices: at offsets of ``source``; those outside the part are left out.
        start: where the part begins.
        end: where it ends; None for the end of ``source``.
    """
    end = len(source) if end is None else end
    parts: list[bytes] = []
    at = start
    for each in sorted(splices, key=lambda splice: (splice.start, -splice.end)):
        if start <= each.start and each.end <= end and each.start >= at:
            parts += source[at : each.start], each.replacement
            at = each.end
    return b"".join((*parts, source[at:end]))
