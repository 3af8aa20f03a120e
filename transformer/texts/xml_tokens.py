"""Checks that a source is well-formed XML, or a part of an XML document, and splits it into tokens. Pure."""

from __future__ import annotations

import re
import xml.parsers.expat as expat
from collections.abc import Iterator

from transformer.texts.markup_tokens import MarkupError, MarkupToken, TokenKind

_ROOT = "yiwen-root"
_BYTE_ORDER_MARK = "\ufeff"
_QUOTED = r"""\"[^\"]*\"|'[^']*'"""
_COMMENT = r"<!--(?s:.*?)-->"
_INSTRUCTION = r"<\?(?s:.*?)\?>"
_CONSTRUCT = re.compile(
    rf"(?P<cdata><!\[CDATA\[(?s:.*?)\]\]>)|(?P<other>{_COMMENT}|{_INSTRUCTION}"
    rf"|<!DOCTYPE(?:[^\[>\"']|{_QUOTED})*(?:\[(?:{_COMMENT}|{_INSTRUCTION}|{_QUOTED}|[^\]])*\]\s*)?>)"
    rf"|(?P<end></(?P<closes>[^\s>]+)\s*>)|(?P<start><(?P<opens>[^\s/>]+)(?:[^>\"']|{_QUOTED})*>)"
)
_KINDS = {
    "cdata": TokenKind.CDATA, "other": TokenKind.OTHER, "closes": TokenKind.END, "end": TokenKind.END,
    "opens": TokenKind.START, "start": TokenKind.START,
}  # fmt: skip


def xml_tokens(source: str) -> Iterator[MarkupToken]:
    """All tokens of ``source``, in order; each begins where the one before ends.

    Raises:
        MarkupError: it is not well-formed, or declares entities.
    """
    _check(source)
    at = 1 if source.startswith(_BYTE_ORDER_MARK) else 0
    if at:
        yield MarkupToken(TokenKind.OTHER, 0, 1)
    depth = 0
    for found in _CONSTRUCT.finditer(source, at):
        if found.start() > at:
            yield MarkupToken(TokenKind.TEXT, at, found.start())
        at = found.end()
        kind = _KINDS[found.lastgroup or "other"]
        is_empty = kind is TokenKind.START and source[at - 2] == "/"
        depth += (kind is TokenKind.START and not is_empty) - (kind is TokenKind.END)
        if depth < 0:
            raise MarkupError("an end tag has no start tag")
        name = found.group("opens") or found.group("closes") or ""
        yield MarkupToken(kind, found.start(), at, name, is_empty)
    if at < len(source):
        yield MarkupToken(TokenKind.TEXT, at, len(source))


def _check(source: str) -> None:
    """Raise unless ``source`` is a well-formed document, or would be one inside a root element."""
    source = source.removeprefix(_BYTE_ORDER_MARK)
    whole = source.lstrip().startswith(("<?xml", "<!DOCTYPE"))
    opening, closing = ("", "") if whole else (f"<{_ROOT}>", f"</{_ROOT}>")
    parser = expat.ParserCreate(encoding="utf-8")
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(f"{opening}{source}{closing}".encode(), True)
    except expat.ExpatError as error:
        column = error.offset - (len(opening) if error.lineno == 1 else 0)
        reason = expat.ErrorString(error.code)
        raise MarkupError(f"line {error.lineno}, column {column}: {reason}") from None


def _refuse(*declaration: object) -> None:
    raise MarkupError("entity declarations are not taken; write the characters themselves")
