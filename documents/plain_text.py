"""Plain text: each line is a unit. Line ends, a byte order mark and a missing last line end are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from documents.encoding import BOM, decode_strictly, decode_text
from documents.interface import DocumentLanguages, TextUnit, UnitTranslation
from protocol.messages import TextFormat

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line, and what stands around it in the file."""

    text: str
    end: str = "\n"
    """Empty for a last line without a line end."""
    start: str = ""
    """A byte order mark before the first line."""

    def replaced_by(self, text: str) -> str:
        """The line with another text in its place."""
        return f"{self.start}{text}{self.end}"


def split_lines(text: str) -> Iterator[TextLine]:
    """Lines by LF, CRLF and CR, the line ends of text files; other separators stay inside a line."""
    for found in _LINE.finditer(text):
        line, end = found.groups()
        if line or end:
            yield TextLine(line, end)


def read_lines(file: BinaryIO) -> Iterator[TextLine]:
    """Lines of a UTF-8 stream as they arrive.

    Raises:
        FileFormatError: a line is not UTF-8.
    """
    for number, data in enumerate(iter(file.readline, b""), start=1):
        text = decode_strictly(data, first_line=number)
        start = BOM if number == 1 and text.startswith(BOM) else ""
        for line in split_lines(text.removeprefix(start)):
            yield TextLine(line.text, line.end, start)
            start = ""


class PlainTextFile:
    """A file of lines."""

    def __init__(
        self, lines: Sequence[TextLine], encoding: str, text_format: TextFormat = TextFormat.TEXT
    ) -> None:
        """Take the lines.

        Args:
            lines: of the file.
            encoding: Python's name of it.
            text_format: of each line.
        """
        self.lines, self.encoding, self.text_format = lines, encoding, text_format
        self.units = [TextUnit(line.text, text_format) for line in lines]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The file with each line's translation in its place; a line without one is empty."""
        pairs = zip(self.lines, translations, strict=True)
        return "".join(line.replaced_by(each.text or "") for line, each in pairs).encode(self.encoding)


def parse(data: bytes, languages: DocumentLanguages) -> PlainTextFile:
    """Read a text file.

    Raises:
        FileFormatError: the bytes are not text.
    """
    return parse_lines(data, TextFormat.TEXT)


def parse_lines(data: bytes, text_format: TextFormat) -> PlainTextFile:
    """Read a file whose lines are texts of a format.

    Raises:
        FileFormatError: the bytes are not text.
    """
    text, encoding = decode_text(data)
    lines = list(split_lines(text))
    if encoding.mark:
        first = lines[0] if lines else TextLine("", end="")
        lines[:1] = [TextLine(first.text, first.end, encoding.mark)]
    return PlainTextFile(lines, encoding.name, text_format)
