"""HTML documents; the service keeps their markup."""

from __future__ import annotations

from documents.encoding import decode_text
from documents.interface import DocumentLanguages, TextUnit
from documents.whole_text import WholeText
from protocol.messages import TextFormat


def parse(data: bytes, languages: DocumentLanguages) -> WholeText:
    """Read a document.

    Raises:
        FileFormatError: the bytes are not text.
    """
    text, encoding = decode_text(data)
    return WholeText(TextUnit(text, TextFormat.HTML), encoding)
