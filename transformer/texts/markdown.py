"""Takes Markdown apart: what is kept byte for byte, and runs of text with the marks that stand within them. Pure.

:mod:`documents.markdown_blocks` finds blocks and marks. Emphasis and links enclose text, as elements of HTML do. Code
is kept as a part of the sentence; images, footnotes and line breaks of HTML are points in it.
"""

from __future__ import annotations

import html
import re

from documents.inline_codes import CodeKind
from documents.markdown_blocks import MarkdownBlock, MarkdownPiece, markdown_blocks
from transformer.texts import elements
from transformer.texts.markdown_writing import MarkdownWriting
from transformer.texts.markup import InlineKind, InlineTag, KeptPart, MarkupPart, TextRun

_HTML_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)[\s/>]")
_CODE = re.compile(r"(`+)(.*)\1", re.DOTALL)
_ADDRESS = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]*:[^\s<>]*|[^\s<>@]+@[^\s<>]+)>")
_ENDS = {CodeKind.OPEN: InlineKind.OPEN, CodeKind.CLOSE: InlineKind.CLOSE}


def parse_markdown(source: str) -> list[MarkupPart]:
    """The parts of ``source``, in order; their ranges, joined, are all of it."""
    parts: list[MarkupPart] = []
    at = 0
    for block in markdown_blocks(source):
        if block.start < at:  # the text of a cell that stands in another one
            continue
        if block.start > at:
            parts.append(KeptPart(at, block.start))
        parts.append(_run_of(source, block))
        at = block.end
    if at < len(source):
        parts.append(KeptPart(at, len(source)))
    return parts


def _run_of(source: str, block: MarkdownBlock) -> TextRun:
    run = TextRun(block.start, block.end)
    texts: list[str] = []
    length = 0
    for piece in block.pieces:
        text = piece.text if piece.kind is CodeKind.TEXT else _text_of_mark(piece)
        if piece.kind is not CodeKind.TEXT and not _is_escape(piece):
            run.tags.append(_tag(piece, length, text))
        if text:
            run.offsets.append(length)
            run.sources.append((piece.start, piece.end))
            texts.append(text)
            length += len(text)
    run.text = "".join(texts)
    plain = MarkdownWriting.of_texts(piece.text for piece in block.pieces if piece.kind is CodeKind.TEXT)
    run.writing = plain
    run.first_writing = MarkdownWriting(plain.literal, source[block.start : block.end])
    return run


def _is_escape(piece: MarkdownPiece) -> bool:
    """Whether a single mark stands for a character: an escape, or an entity."""
    return piece.kind is CodeKind.SINGLE and piece.text[0] in "\\&"


def _text_of_mark(piece: MarkdownPiece) -> str:
    """What the model reads in the place of a mark."""
    if piece.kind is not CodeKind.SINGLE:
        return ""
    if _is_escape(piece):
        return piece.text[1:] if piece.text[0] == "\\" else html.unescape(piece.text)
    for pattern, group in ((_CODE, 2), (_ADDRESS, 1)):
        if found := pattern.fullmatch(piece.text):
            return " ".join(found[group].split())
    return ""


def _tag(piece: MarkdownPiece, offset: int, text: str) -> InlineTag:
    """A mark as a tag of a run.

    Args:
        piece: the mark.
        offset: its place in the text of the run.
        text: what the model reads in its place.
    """
    if text:
        return InlineTag(InlineKind.KEPT, offset, piece.start, piece.end, text_end=offset + len(text))
    kind, name = _ENDS.get(piece.kind, InlineKind.POINT), str(piece.number)
    if piece.kind is CodeKind.SINGLE and (found := _HTML_TAG.match(piece.text)):
        name = found[2].lower()
        if name not in elements.VOID and not piece.text.endswith("/>"):
            kind = InlineKind.CLOSE if found[1] else InlineKind.OPEN
    return InlineTag(kind, offset, piece.start, piece.end, name)
