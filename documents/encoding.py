"""Bytes of text files: UTF-8, or UTF-16 with a byte order mark; the mark is kept."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from documents.interface import FileFormatError

BOM = "\ufeff"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """How a file's text is stored."""

    name: str = "utf-8"
    mark: str = ""
    """Byte order mark, as a character."""
    errors: str = "strict"
    """What is done with characters that the encoding lacks."""

    def encode(self, text: str) -> bytes:
        """Bytes of the file, with the mark."""
        return f"{self.mark}{text}".encode(self.name, self.errors)


def decode_text(data: bytes, default: str = "utf-8") -> tuple[str, TextEncoding]:
    """The text of a file, without its byte order mark, and how to encode it again.

    Args:
        data: the file's bytes.
        default: encoding of a file without a mark.

    Raises:
        FileFormatError: bytes do not belong to the encoding.
    """
    mark, name = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", default))
    return decode_strictly(data[len(mark) :], name), TextEncoding(name, BOM if mark else "")


def decode_strictly(data: bytes, encoding: str = "utf-8", *, first_line: int = 1) -> str:
    """Text of bytes.

    Args:
        data: without a byte order mark.
        encoding: Python's name of it.
        first_line: number of the line that ``data`` begins with, for the message.

    Raises:
        FileFormatError: bytes do not belong to the encoding, or are no text; the message has the line's number.
    """
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = first_line + data[: error.start].decode(encoding, "replace").count("\n")
        raise FileFormatError(
            f"line {line}: byte 0x{data[error.start]:02x} is not {encoding.upper()}; convert the file to UTF-8"
        ) from None
    if "\0" in text:
        line = first_line + text[: text.index("\0")].count("\n")
        raise FileFormatError(
            f"line {line}: a NUL character; it is not text, or UTF-16 without a byte order mark"
        )
    return text
