"""Splits HTML and XML into markup, which is kept byte for byte, and the text between it. Pure.

The standard library's parsers give the offset of each event. The pieces are cut out of the source there, so that the
pieces, joined, are always the source.
"""

from __future__ import annotations

import html
import re
import xml.parsers.expat as expat
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import accumulate

from protocol.messages import TextFormat

UNTRANSLATED = frozenset(
    {
        "script",
        "style",
        "pre",
        "code",
        "kbd",
        "samp",
        "var",
        "textarea",
        "svg",
        "math",
        "template",
        "noscript",
    }
    | {"xmp", "iframe", "noembed", "noframes", "plaintext"}
)
"""HTML elements whose content is not prose, or has a syntax of its own."""

_VOID = frozenset(
    {
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    }
)
_TAG_LEFT_OPEN = re.compile(r"<[A-Za-z/!?]")
_SPACE_ENTITY = re.compile(r"&nbsp;|&#160;|&#[xX][aA]0;")
_SPACE_ENTITY_LENGTH = 6
_LEADING_SPACE = re.compile(rf"(?:\s|{_SPACE_ENTITY.pattern})*")
_COMMENT_END = re.compile(r"--\s*>")
_MAX_UNCLOSED = 100
"""Comments, or sections, without an end that are parsed: the parser searches all of the text for the end of each."""
_SEPARATORS = " \t\n\r\f/"
_MANY_SEPARATORS = 65_536
_START_TAG = re.compile(r"""<[A-Za-z](?:[^>"']|"[^"]*"|'[^']*'|["'])*""")
_LONG_TAG = 65_536
"""Characters of a tag, in a text with so many separators that it may have too many attributes: the parser takes 500
bytes for each."""
_ROOT = "yiwen-root"


class MarkupError(ValueError):
    """The source is not well-formed. The message says where, without quoting the source."""


@dataclass(frozen=True, slots=True)
class MarkupPiece:
    """A part of the source."""

    raw: str
    """As in the source."""
    text: str | None = None
    """The text to translate, without outer white space and with entities resolved; None if the piece is kept."""


def parse_markup(source: str, text_format: TextFormat) -> list[MarkupPiece]:
    """The pieces of ``source``, in order. Their ``raw`` texts, joined, are ``source``.

    HTML is parsed leniently, as browsers do; what they cannot parse is kept. XML must be well-formed.

    Raises:
        MarkupError: XML is not well-formed, or a declaration cannot be read.
    """
    starts = _html_starts(source) if text_format is TextFormat.HTML else _xml_starts(source)
    return [piece for raw, is_text in _runs(source, starts) for piece in _pieces(raw, is_text)]


def escape_text(text: str) -> str:
    """``text`` with ``&``, ``<`` and ``>`` escaped."""
    return html.escape(text, quote=False)


def _runs(source: str, starts: list[tuple[int, bool]]) -> list[tuple[str, bool]]:
    """Parts of the source, each with whether it is text: neighbouring events of one kind are one part."""
    marks: list[tuple[int, bool]] = [(0, False)]
    for start, is_text in starts:
        if start == marks[-1][0]:
            marks[-1] = (start, is_text)
        elif is_text != marks[-1][1]:
            marks.append((start, is_text))
    ends = [start for start, _ in marks[1:]] + [len(source)]
    return [(source[start:end], is_text) for (start, is_text), end in zip(marks, ends, strict=True)]


def _pieces(raw: str, is_text: bool) -> list[MarkupPiece]:
    if not is_text or _TAG_LEFT_OPEN.search(raw):
        return [MarkupPiece(raw)] if raw else []
    start, end = _without_outer_space(raw)
    lead, inner, tail = raw[:start], raw[start:end], raw[end:]
    words = html.unescape(inner)
    pieces = [MarkupPiece(lead), MarkupPiece(inner, words if words.strip() else None), MarkupPiece(tail)]
    return [piece for piece in pieces if piece.raw]


def _without_outer_space(raw: str) -> tuple[int, int]:
    """Start and end of ``raw`` without white space, and without entities for white space, at both ends."""
    found = _LEADING_SPACE.match(raw)
    start, end = found.end() if found else 0, len(raw)
    while end > start:
        if raw[end - 1].isspace():
            end -= 1
        elif _SPACE_ENTITY.fullmatch(raw, max(start, end - _SPACE_ENTITY_LENGTH), end):
            end -= _SPACE_ENTITY_LENGTH
        else:
            break
    return start, end


class _HtmlStarts(HTMLParser):
    """Collects the offset of each parser event, and whether it is text to translate."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        # The parser counts lines by line feeds alone.
        self._lines = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
        self._bounds_tags = sum(map(source.count, _SEPARATORS)) > _MANY_SEPARATORS
        self._kept: list[str] = []
        self.starts: list[tuple[int, bool]] = []

    @property
    def is_kept(self) -> bool:
        """Whether the parser is inside an element that is not translated."""
        return bool(self._kept)

    def parse_starttag(self, i: int) -> int:
        """As the base class has it; raises MarkupError for a tag that may have too many attributes."""
        if self._bounds_tags:
            found = _START_TAG.match(self.rawdata, i, i + _LONG_TAG)
            if found and found.end() == i + _LONG_TAG:
                raise MarkupError(f"a tag is longer than {_LONG_TAG} characters")
        return super().parse_starttag(i)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(False)
        if tag in _VOID:
            return
        if self._kept:
            if tag == self._kept[-1]:
                self._kept.append(tag)
        elif tag in UNTRANSLATED or _is_marked_untranslated(attrs):
            self._kept.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # HTML ignores the slash: <pre/> opens like <pre>. Only foreign elements are closed by it.
        self._add(False)
        if tag in UNTRANSLATED - {"svg", "math"} and not self._kept:
            self._kept.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._add(False)
        if self._kept and tag == self._kept[-1]:
            self._kept.pop()

    def handle_data(self, data: str) -> None:
        self._add(not self._kept)

    def handle_entityref(self, name: str) -> None:
        self._add(not self._kept)

    def handle_charref(self, name: str) -> None:
        self._add(not self._kept)

    def handle_comment(self, data: str) -> None:
        self._add(False)

    def handle_decl(self, decl: str) -> None:
        self._add(False)

    def handle_pi(self, data: str) -> None:
        self._add(False)

    def unknown_decl(self, data: str) -> None:
        self._add(False)

    def _add(self, is_text: bool) -> None:
        line, column = self.getpos()
        self.starts.append((self._lines[line - 1] + column, is_text))


def _html_starts(source: str) -> list[tuple[int, bool]]:
    end = _parsed_until(source)
    parser = _HtmlStarts(source)
    try:
        parser.feed(source[:end])
        parser.close()
    except AssertionError as error:  # raised by the parser for declarations that it cannot read
        raise MarkupError("a declaration (<! ...>) cannot be read") from error
    return [*(each for each in parser.starts if each[0] < end), (end, not parser.is_kept)]


def _parsed_until(source: str) -> int:
    """Where the part of ``source`` ends that is parsed; the rest is kept.

    No tag ends after the last ">". Searching for one from every "<" after it would take quadratic time, and so would
    searching for the ends of many comments and sections that have none.
    """
    end = source.rfind(">") + 1
    last_comment_end = max((found.end() for found in _COMMENT_END.finditer(source)), default=0)
    for opening, last in (("<!--", last_comment_end), ("<![", source.rfind("]") + 1)):
        if source.count(opening, last, end) > _MAX_UNCLOSED:
            end = source.index(opening, last)
    return end


def _is_marked_untranslated(attributes: list[tuple[str, str | None]]) -> bool:
    values = dict(attributes)
    return (values.get("translate") or "").lower() == "no" or "notranslate" in (
        values.get("class") or ""
    ).split()


class _XmlStarts:
    """Collects the byte offset of each event of an XML document, and whether it is text to translate."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, bool]] = []
        self.depth = 0
        self.root_closed_at = -1
        self._in_cdata = False
        parser = expat.ParserCreate(encoding="utf-8")
        parser.buffer_text = False
        parser.StartElementHandler = self._open
        parser.EndElementHandler = self._close
        parser.CharacterDataHandler = lambda data: self._add(not self._in_cdata)
        parser.StartCdataSectionHandler = self._open_cdata
        parser.EndCdataSectionHandler = self._close_cdata
        parser.EntityDeclHandler = self._refuse
        parser.DefaultHandler = lambda data: self._add(False)
        self.parser = parser

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        self._add(False)
        self.depth += 1

    def _close(self, tag: str) -> None:
        self._add(False)
        self.depth -= 1
        if not self.depth:
            self.root_closed_at = self.parser.CurrentByteIndex

    def _open_cdata(self) -> None:
        self._add(False)
        self._in_cdata = True

    def _close_cdata(self) -> None:
        self._in_cdata = False
        self._add(False)

    def _refuse(self, *declaration: object) -> None:
        raise MarkupError("entity declarations are not taken; write the characters themselves")

    def _add(self, is_text: bool) -> None:
        self.starts.append((self.parser.CurrentByteIndex, is_text))


def _xml_starts(source: str) -> list[tuple[int, bool]]:
    whole = source.lstrip().startswith(("<?xml", "<!DOCTYPE"))
    opening, closing = ("", "") if whole else (f"<{_ROOT}>", f"</{_ROOT}>")
    data = f"{opening}{source}{closing}".encode()
    reader = _XmlStarts()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        column = error.offset - (len(opening) if error.lineno == 1 else 0)
        reason = expat.ErrorString(error.code)
        raise MarkupError(f"line {error.lineno}, column {column}: {reason}") from None
    if not whole and reader.root_closed_at != len(data) - len(closing):
        raise MarkupError("an end tag has no start tag")
    return _in_characters(source, reader.starts, len(opening))


def _in_characters(source: str, starts: list[tuple[int, bool]], before: int) -> list[tuple[int, bool]]:
    """``starts`` as offsets in characters of ``source``.

    Args:
        source: the document.
        starts: byte offsets, with whether the event is text.
        before: bytes that were inserted before the document.
    """
    data = source.encode()
    characters = at = 0
    inside: list[tuple[int, bool]] = []
    for start, is_text in starts:
        if not 0 <= start - before <= len(data):
            continue
        characters += len(data[at : start - before].decode())
        at = start - before
        inside.append((characters, is_text))
    return inside
