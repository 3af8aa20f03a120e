"""Tokens of HTML and XML: ranges of the source, which together are the source. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_SPACE = r"[\t\n\f\r ]"
ATTRIBUTE = re.compile(
    rf"[\t\n\f\r /]*([^\t\n\f\r />][^\t\n\f\r />=]*)"
    rf"(?:{_SPACE}*={_SPACE}*(\"|'|[^\t\n\f\r >\"'][^\t\n\f\r >]*|(?=>)))?"
)
"""The next attribute of a tag: its name; its value, or the quotation mark before it."""


class MarkupError(ValueError):
    """The source is not well-formed. The message says where, without quoting the source."""


class TokenKind(Enum):
    """Kinds of token."""

    TEXT = "text"
    """Text with entities."""
    RAW_TEXT = "raw text"
    """Text in which ``&`` and ``<`` mean nothing: of a script, a style sheet, a CDATA section."""
    START = "start tag"
    END = "end tag"
    CDATA = "CDATA section"
    TEMPLATE = "template tag"
    """Of a template language: ``<% %>``, ``{% %}``, ``{# #}``, PHP."""
    OTHER = "other"
    """Comments, declarations, processing instructions, and what is no markup that a parser knows."""


@dataclass(frozen=True, slots=True)
class MarkupToken:
    """One token of a source."""

    kind: TokenKind
    start: int
    end: int
    name: str = ""
    """Of a tag's element; in HTML in lower case."""
    is_empty: bool = False
    """Whether a start tag is written with a slash at its end."""


@dataclass(frozen=True, slots=True)
class AttributeRange:
    """Name of an attribute, and the range of its value in the source."""

    name: str
    start: int
    end: int
    quote: str
    """The quotation mark around the value, or the empty string."""


def attributes_of(source: str, tag: MarkupToken) -> Iterator[AttributeRange]:
    """The attributes of a start tag that have values; duplicates included."""
    at = tag.start + 1 + len(tag.name)
    while (found := ATTRIBUTE.match(source, at, tag.end)) is not None:
        name, value = found.groups()
        at = found.end()
        if value is None:
            continue
        if value in ("'", '"'):
            end = source.find(value, at, tag.end)
            if end < 0:
                return
            yield AttributeRange(name.lower(), at, end, value)
            at = end + 1
        else:
            yield AttributeRange(name.lower(), found.start(2), found.end(2), "")
