"""Text with codes inside (formatting of other formats) as XML that the service understands, and back.

A span is ``<g id="1">...</g>`` and a single code ``<x id="2"/>``. Of an answer that
lost, doubled or tangled codes only the text is taken, with the codes behind it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from documents.interface import TextUnit
from protocol.messages import TextFormat


class CodeKind(Enum):
    """What a token is."""

    TEXT = "text"
    OPEN = "open"
    CLOSE = "close"
    SINGLE = "single"


class CodeToken(NamedTuple):
    """A text, or a code with its number."""

    kind: CodeKind
    text: str = ""
    number: int = 0


_TOKEN = re.compile(r'<g id="(\d+)">|(</g>)|<x id="(\d+)"/>')


def unit_of_tokens(tokens: Sequence[CodeToken], place: str, context: str = "") -> TextUnit:
    """The unit of a text with codes; plain text where there is none.

    Args:
        tokens: well nested.
        place: where it stands.
        context: what is known about it.
    """
    if all(token.kind is CodeKind.TEXT for token in tokens):
        return TextUnit("".join(token.text for token in tokens), place=place, context=context)
    return TextUnit("".join(map(_markup, tokens)), TextFormat.XML, place, context)


def tokens_of_answer(answer: str, tokens: Sequence[CodeToken]) -> list[CodeToken]:
    """Tokens of a unit's translation.

    Args:
        answer: translation of the unit that :func:`unit_of_tokens` made.
        tokens: what the unit was made of.
    """
    if all(token.kind is CodeKind.TEXT for token in tokens):
        return [CodeToken(CodeKind.TEXT, answer)]
    found = _parsed(answer)
    if _codes(found) == _codes(tokens) and _is_nested(found):
        return found
    text = "".join(token.text for token in found)
    codes = [token for token in tokens if token.kind is not CodeKind.TEXT]
    return [CodeToken(CodeKind.TEXT, text), *codes]


def plain_text(tokens: Iterable[CodeToken]) -> str:
    """The text without its codes."""
    return "".join(token.text for token in tokens)


def _markup(token: CodeToken) -> str:
    if token.kind is CodeKind.TEXT:
        return html.escape(token.text, quote=False)
    if token.kind is CodeKind.OPEN:
        return f'<g id="{token.number}">'
    return "</g>" if token.kind is CodeKind.CLOSE else f'<x id="{token.number}"/>'


def _parsed(answer: str) -> list[CodeToken]:
    tokens: list[CodeToken] = []
    opened: list[int] = []
    at = 0
    for found in _TOKEN.finditer(answer):
        if found.start() > at:
            tokens.append(CodeToken(CodeKind.TEXT, html.unescape(answer[at : found.start()])))
        at = found.end()
        if found[1]:
            opened.append(int(found[1]))
            tokens.append(CodeToken(CodeKind.OPEN, number=opened[-1]))
        elif found[2]:
            tokens.append(CodeToken(CodeKind.CLOSE, number=opened.pop() if opened else -1))
        else:
            tokens.append(CodeToken(CodeKind.SINGLE, number=int(found[3])))
    if at < len(answer):
        tokens.append(CodeToken(CodeKind.TEXT, html.unescape(answer[at:])))
    return tokens


def _codes(tokens: Iterable[CodeToken]) -> tuple[list[int], list[tuple[str, int]]]:
    """Single codes in their order, since some belong together, and spans in any."""
    codes = [token for token in tokens if token.kind is not CodeKind.TEXT]
    singles = [token.number for token in codes if token.kind is CodeKind.SINGLE]
    spans = sorted((token.kind.value, token.number) for token in codes if token.kind is not CodeKind.SINGLE)
    return singles, spans


def _is_nested(tokens: Iterable[CodeToken]) -> bool:
    opened: list[int] = []
    for token in tokens:
        if token.kind is CodeKind.OPEN:
            opened.append(token.number)
        elif token.kind is CodeKind.CLOSE and (not opened or opened.pop() != token.number):
            return False
    return not opened
