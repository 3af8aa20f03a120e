"""HTML documents; the service keeps their markup."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import accumulate

from documents.encoding import TextEncoding, decode_strictly, decode_text
from documents.interface import DocumentLanguages, FileFormatError
from documents.markup_parts import UNTRANSLATED_ATTRIBUTES, MarkupParts, cut, fits
from protocol.messages import TextFormat

_CHARSET = re.compile(rb"""<meta[^>]*?charset\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.IGNORECASE)
_HEAD_BYTES = 4_096
_BLOCKS = (
    frozenset({"address", "article", "aside", "blockquote", "dd", "details", "div", "dl", "dt", "fieldset"})
    | {"figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li"}
    | {"main", "nav", "ol", "p", "section", "table", "tbody", "tr", "ul"}
)
"""Elements before which a page may be cut: none of them stands within a sentence."""
_WHOLE = frozenset(
    {"script", "style", "pre", "code", "kbd", "samp", "var", "textarea", "svg", "math", "template"}
) | {"noscript", "xmp", "iframe", "noembed", "noframes", "plaintext"}
"""Elements that are not cut."""
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source"}
) | {"track", "wbr"}


class _CutFinder(HTMLParser):
    """Collects the offsets of block elements that stand in nothing that must stay whole."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self._lines = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
        self._open: list[tuple[str, bool]] = []
        """Names of open elements, and whether they must stay whole."""
        self._names: Counter[str] = Counter()
        self._whole = 0
        self.cuts: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._whole and tag in _BLOCKS:
            line, column = self.getpos()
            self.cuts.append(self._lines[line - 1] + column)
        if tag not in _VOID:
            marked = any(name in UNTRANSLATED_ATTRIBUTES and _may_mark(name, value) for name, value in attrs)
            is_whole = tag in _WHOLE or marked
            self._open.append((tag, is_whole))
            self._names[tag] += 1
            self._whole += is_whole

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in ("svg", "math"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        closed = "" if self._names[tag] else tag
        while closed != tag:
            closed, is_whole = self._open.pop()
            self._names[closed] -= 1
            self._whole -= is_whole


def _may_mark(name: str, value: str | None) -> bool:
    return name != "class" or "translate" in (value or "").lower()


def _cuts(source: str) -> list[int]:
    """Where a large page may be cut; none where the parser does not understand it."""
    if fits(source):
        return []
    finder = _CutFinder(source)
    try:
        finder.feed(source)
        finder.close()
    except AssertionError:  # raised by the parser for declarations that it cannot read
        return []
    return finder.cuts


def _decoded(data: bytes) -> tuple[str, TextEncoding]:
    """A page's text: UTF-8, or what its ``meta`` element says."""
    declared = _CHARSET.search(data, 0, _HEAD_BYTES)
    try:
        return decode_text(data)
    except FileFormatError:
        name = declared[1].decode().lower() if declared else ""
        if not name or name in ("utf-8", "utf8"):
            raise
    try:
        return decode_strictly(data, name), TextEncoding(name, errors="xmlcharrefreplace")
    except LookupError:
        raise FileFormatError(f"its charset {name} is not known") from None


def parse(data: bytes, languages: DocumentLanguages) -> MarkupParts:
    """Read a page, or a part of one.

    Raises:
        FileFormatError: the bytes are not text in UTF-8 or in the charset that the page names.
    """
    text, encoding = _decoded(data)
    return MarkupParts(list(cut(text, _cuts(text))), TextFormat.HTML, encoding)
