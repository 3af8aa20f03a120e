"""Java properties (.properties): values are units; keys, comments, separators and every byte of the layout stay.

Only the value of a translated entry is written again, on one line. Files are UTF-8, or ISO 8859-1 as before Java 9.
In a file of nothing but ASCII other characters are written as escapes, which every Java reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from documents.encoding import TextEncoding, decode_text
from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.splices import TextSplice, splice_text
from documents.string_markup import format_of_string
from protocol.messages import TextFormat

_LATIN = "iso8859-1"
_LINE_END = r"(?:\r\n|\r|\n)"
_NATURAL_LINE = re.compile(rf"[^\r\n]*(?:{_LINE_END}|\Z)")
_COMMENT = re.compile(r"[ \t\f]*[#!][ \t]*(.*?)\s*\Z")
_KEY = re.compile(
    rf"[ \t\f]*((?:\\{_LINE_END}[ \t\f]*|\\.|[^\\=: \t\f\r\n])*)[ \t\f]*(?:[=:][ \t\f]*)?", re.DOTALL
)
_ESCAPE = re.compile(rf"\\(?:u([0-9A-Fa-f]{{4}})|{_LINE_END}[ \t\f]*|(.)|\Z)", re.DOTALL)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_WRITTEN = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\f": "\\f", "\\": "\\\\"}
_ARGUMENT = re.compile(r"\{\d{1,3}\s*[,}]")
_QUOTED = re.compile(r"'[^']*'")
_SURROGATE = re.compile("[\ud800-\udfff]")


class PropertiesEntry(NamedTuple):
    """A key with a value."""

    start: int
    end: int
    """Range of the value as it is written."""
    key: str
    text: str
    comment: str
    """Of the lines before it."""


@dataclass(frozen=True, slots=True)
class _Style:
    """How values are written."""

    encoding: TextEncoding
    escapes_all: bool
    """Whether all but ASCII is escaped."""

    def written(self, text: str, raw: str) -> str:
        """``text`` as a value in the place of ``raw``."""
        parts = [_WRITTEN.get(each, each) for each in text]
        if parts and text[0] in " \t\f":
            parts[0] = f"\\{text[0]}" if text[0] == " " else parts[0]
        escaped = "".join(parts)
        if "\\:" in raw or "\\=" in raw:  # as java.util.Properties stores them
            escaped = re.sub("[:=#!]", r"\\\g<0>", escaped)
        return "".join(each if self._holds(each) else _unicode_escape(each) for each in escaped)

    def _holds(self, character: str) -> bool:
        if character.isascii():
            return True
        return not self.escapes_all and (self.encoding.name != _LATIN or ord(character) < 256)


class PropertiesFile:
    """A file of properties."""

    def __init__(self, source: str, encoding: TextEncoding) -> None:
        """Find the entries.

        Args:
            source: the file's text.
            encoding: of the file.
        """
        self._source = source
        self._style = _Style(encoding, source.isascii())
        self._entries = list(_entries(source))
        self.units = [
            TextUnit(each.text, _format_of(each.text), f"key {each.key}", each.comment)
            for each in self._entries
        ]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The file with its values translated; one without a translation stays."""
        splices = [
            TextSplice(
                each.start, each.end, self._style.written(answer.text, self._source[each.start : each.end])
            )
            for each, answer in zip(self._entries, translations, strict=True)
            if answer.text is not None and answer.text != each.text
        ]
        return self._style.encoding.encode(splice_text(self._source, splices))


def _entries(source: str) -> Iterator[PropertiesEntry]:
    comments: list[str] = []
    at = 0
    while at < len(source):
        end = _end_of_line(source, at)
        line = source[at:end]
        comment = _COMMENT.match(source[at : _natural_end(source, at)].rstrip("\r\n"))
        if comment is not None:
            end = _natural_end(source, at)
            comments.append(comment[1])
        elif not line.strip(" \t\f\r\n"):
            comments = []
        else:
            key = _KEY.match(source, at, end)
            start = key.end() if key else at
            stop = start + len(source[start:end].rstrip("\r\n"))
            text = _resolved(source[start:stop])
            if text.strip():
                name = _resolved(key[1]) if key else ""
                yield PropertiesEntry(start, stop, name, text, "\n".join(comments))
            comments = []
        at = end


def _natural_end(source: str, at: int) -> int:
    found = _NATURAL_LINE.match(source, at)
    return found.end() if found else len(source)


def _end_of_line(source: str, at: int) -> int:
    """The end of the logical line that begins at ``at``, which goes on behind a backslash at the end of a line."""
    while True:
        end = _natural_end(source, at)
        line = source[at:end].rstrip("\r\n")
        if (len(line) - len(line.rstrip("\\"))) % 2 == 0 or end == len(source):
            return end
        at = end


def _resolved(raw: str) -> str:
    """What a key or a value means."""

    def resolve(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        return _CONTROLS.get(found[2], found[2]) if found[2] else ""

    text = _ESCAPE.sub(resolve, raw)
    if _SURROGATE.search(text):  # two of them are one character, one alone is none
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _unicode_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _format_of(text: str) -> TextFormat:
    """ICU for what java.text.MessageFormat reads, in which apostrophes quote; else as other strings."""
    if _ARGUMENT.search(text):
        bare = _QUOTED.sub("", text)
        if bare.count("{") == bare.count("}"):
            return TextFormat.ICU
    return format_of_string(text)


def parse(data: bytes, languages: DocumentLanguages) -> PropertiesFile:
    """Read a file.

    Raises:
        FileFormatError: it is not text.
    """
    try:
        text, encoding = decode_text(data)
    except FileFormatError:
        if b"\0" in data:
            raise
        text, encoding = data.decode(_LATIN), TextEncoding(_LATIN)
    return PropertiesFile(text, replace(encoding, errors="strict"))
