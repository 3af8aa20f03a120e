"""HTML and XML taken apart into markup, which is kept byte for byte, and the text between it. Pure.

The standard library's parsers say where each thing begins; every piece is then cut out of the source itself, so that
the pieces, joined, are the source, whatever a parser makes of it. What is translated is
:mod:`transformer.texts.segments`'s to decide.
"""

from __future__ import annotations

import html
import re
import xml.parsers.expat as expat
from bisect import bisect_right
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
"""HTML elements whose content is no prose, or is read by other rules."""

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
_OUTER_SPACE = re.compile(
    r"(?s)((?:\s|&nbsp;|&#160;|&#[xX][aA]0;)*)(.*?)((?:\s|&nbsp;|&#160;|&#[xX][aA]0;)*)"
)
_ROOT = "yiwen-root"


class MarkupError(ValueError):
    """The source is not well-formed. The message says where, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class MarkupPiece:
    """A stretch of the source."""

    raw: str
    """As it stands there."""
    text: str | None = None
    """What it says, without outer white space, entities resolved; None if it is to be kept as it is."""


def parse_markup(source: str, text_format: TextFormat) -> list[MarkupPiece]:
    """The pieces of ``source``, in order; ``"".join(piece.raw ...)`` gives it back.

    HTML is read as browsers do, and what they could not read stays as it is; XML must be well-formed.

    Raises:
        MarkupError: it is not.
    """
    starts = _html_starts(source) if text_format is TextFormat.HTML else _xml_starts(source)
    return [piece for raw, is_text in _runs(source, starts) for piece in _pieces(raw, is_text)]


def escape_text(text: str) -> str:
    """``text`` as it stands between tags."""
    return html.escape(text, quote=False)


def _runs(source: str, starts: list[tuple[int, bool]]) -> list[tuple[str, bool]]:
    """Neighbouring events of one kind are one run; an entity is part of the text around it."""
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
    found = _OUTER_SPACE.fullmatch(raw)
    lead, inner, tail = found.groups() if found else ("", raw, "")
    words = html.unescape(inner)
    pieces = [MarkupPiece(lead), MarkupPiece(inner, words if words.strip() else None), MarkupPiece(tail)]
    return [piece for piece in pieces if piece.raw]


class _HtmlStarts(HTMLParser):
    """Offset of each event, and whether it is text to translate."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        # The parser counts lines by line feeds alone.
        self._lines = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
        self._kept: list[str] = []
        self.starts: list[tuple[int, bool]] = []

    @property
    def is_kept(self) -> bool:
        """Whether an element that is not translated is open."""
        return bool(self._kept)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(False)
        if tag in _VOID:
            return
        if self._kept:
            if tag == self._kept[-1]:
                self._kept.append(tag)
        elif tag in UNTRANSLATED or _says_no(attrs):
            self._kept.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In HTML the slash means nothing: <pre/> opens like <pre>. Only foreign elements close by it.
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
    # No tag ends behind the last ">": looking for one from every "<" there would take quadratic time.
    end = source.rfind(">") + 1
    parser = _HtmlStarts(source)
    try:
        parser.feed(source[:end])
        parser.close()
    except AssertionError as error:  # what the parser raises for declarations that it cannot read
        raise MarkupError("a declaration (<! ...>) cannot be read") from error
    return [*(each for each in parser.starts if each[0] < end), (end, not parser.is_kept)]


def _says_no(attributes: list[tuple[str, str | None]]) -> bool:
    values = dict(attributes)
    return (values.get("translate") or "").lower() == "no" or "notranslate" in (
        values.get("class") or ""
    ).split()


class _XmlStarts:
    """The same of an XML document, in bytes."""

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
    """``starts`` counted in characters of ``source`` rather than in bytes behind ``before`` ones."""
    if source.isascii():
        inside = [(start - before, is_text) for start, is_text in starts]
    else:
        offsets = list(accumulate((len(character.encode()) for character in source), initial=0))
        inside = [(bisect_right(offsets, start - before) - 1, is_text) for start, is_text in starts]
    return [(start, is_text) for start, is_text in inside if 0 <= start <= len(source)]
