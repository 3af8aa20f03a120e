"""Strings files of Apple's systems (.strings): values are units; keys, comments and every byte of the layout stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from documents.encoding import TextEncoding, decode_text
from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.splices import TextSplice, splice_text
from documents.string_markup import format_of_string

_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_TOKEN = re.compile(
    rf"(?P<comment>/\*(?P<block>.*?)\*/|//(?P<line>[^\r\n]*))|(?P<quoted>{_QUOTED})"
    r"|(?P<bare>[A-Za-z0-9_.$:/-]+)|(?P<sign>[=;])",
    re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"\\(?:U([0-9A-Fa-f]{4})|([0-7]{3})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class StringsEntry(NamedTuple):
    """A key with a value."""

    start: int
    end: int
    """Range of the value with its quotes."""
    key: str
    text: str
    comment: str
    """Before it."""


class StringsFile:
    """A strings file."""

    def __init__(self, source: str, encoding: TextEncoding) -> None:
        """Find the entries.

        Args:
            source: the file's text.
            encoding: of the file.

        Raises:
            FileFormatError: it is not a strings file; the message has the line's number.
        """
        self._source, self._encoding = source, encoding
        self._entries = [entry for entry in _entries(source) if entry.text.strip()]
        self.units = [
            TextUnit(each.text, format_of_string(each.text), f"key {each.key}", each.comment)
            for each in self._entries
        ]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The file with its values translated; one without a translation stays."""
        splices = [
            TextSplice(each.start, each.end, _quoted(answer.text, self._source[each.start : each.end]))
            for each, answer in zip(self._entries, translations, strict=True)
            if answer.text is not None and answer.text != each.text
        ]
        return self._encoding.encode(splice_text(self._source, splices))


def _entries(source: str) -> Iterator[StringsEntry]:
    """Entries ``key = value;`` and ``key;``, whose value is the key and stays."""
    comment = ""
    words: list[re.Match[str]] = []
    for token in _tokens(source):
        if token["comment"]:
            if not words:
                comment = " ".join((token["block"] or token["line"] or "").split())
            continue
        words.append(token)
        if token[0] != ";":
            continue
        kinds = [word["sign"] or "string" for word in words]
        if kinds == ["string", "=", "string", ";"]:
            value = words[2]
            yield StringsEntry(*value.span(), _text(words[0]), _text(value), comment)
        elif kinds != ["string", ";"]:
            raise _fault(source, words[0].start(), 'an entry must be "key" = "value";')
        words, comment = [], ""
    if words:
        raise _fault(source, words[0].start(), "the entry that begins here has no semicolon at its end")


def _tokens(source: str) -> Iterator[re.Match[str]]:
    at = 0
    while (at := _behind_space(source, at)) < len(source):
        token = _TOKEN.match(source, at)
        if token is None:
            raise _fault(source, at, "this is no string, comment, equals sign or semicolon")
        yield token
        at = token.end()


def _behind_space(source: str, at: int) -> int:
    found = _SPACE.match(source, at)
    return found.end() if found else at


def _fault(source: str, at: int, words: str) -> FileFormatError:
    line = source.count("\n", 0, at) + 1
    return FileFormatError(f"line {line}: {words}")


def _text(token: re.Match[str]) -> str:
    """What a string means."""
    if token["bare"]:
        return token[0]

    def resolve(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2]:
            return chr(int(found[2], 8))
        return _CONTROLS.get(found[3], found[3])

    text = _ESCAPE.sub(resolve, token[0][1:-1])
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _quoted(text: str, raw: str) -> str:
    """``text`` as a string in the place of ``raw``, whose line feeds may stand in it as they are."""
    mark = raw[0] if raw[0] in "\"'" else '"'
    escaped = (
        text.replace("\\", "\\\\")
        .replace(mark, f"\\{mark}")
        .replace("\t", "\\t" if "\t" not in raw else "\t")
    )
    if "\n" not in raw:
        escaped = escaped.replace("\r", "\\r").replace("\n", "\\n")
    return f"{mark}{escaped}{mark}"


def parse(data: bytes, languages: DocumentLanguages) -> StringsFile:
    """Read a file.

    Raises:
        FileFormatError: it is not a strings file.
    """
    return StringsFile(*decode_text(data))
