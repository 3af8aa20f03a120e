"""Messages of ICU MessageFormat, one in each line; they have no suffix of their own."""

from __future__ import annotations

from documents.interface import DocumentLanguages
from documents.plain_text import PlainTextFile, parse_lines
from protocol.messages import TextFormat


def parse(data: bytes, languages: DocumentLanguages) -> PlainTextFile:
    """Read a file.

    Raises:
        FileFormatError: the bytes are not text.
    """
    return parse_lines(data, TextFormat.ICU)
