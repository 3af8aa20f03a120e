"""What `yiwen translate` reads: texts of the command line, lines as they arrive, or a document."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from documents.formats import FileFormat, format_of, parse_document
from documents.interface import DocumentLanguages, FileFormatError, ParsedDocument, TextUnit
from documents.plain_text import PlainTextFile, TextLine, read_lines
from protocol.messages import TextFormat


@dataclass(frozen=True, slots=True)
class LineSource:
    """Texts whose translations are lines."""

    lines: Iterable[TextLine]
    total: int | None
    """How many there are; None: not known yet."""
    pending: deque[TextLine]
    """Lines that are read and not yet answered, oldest first."""
    text_format: TextFormat = TextFormat.TEXT
    encoding: str = "utf-8"

    @property
    def units(self) -> Iterator[TextUnit]:
        """The texts. Each is remembered until its answer takes it from :attr:`pending`."""
        for line in self.lines:
            self.pending.append(line)
            yield TextUnit(line.text, self.text_format)

    def by_paragraphs(self) -> LineSource:
        """The source with the lines up to an empty one as one text."""
        if self.total is None:
            return replace(self, lines=_paragraphs(self.lines))
        lines = list(_paragraphs(self.lines))
        return replace(self, lines=lines, total=len(lines))


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """A document: it is written when all of its texts are there."""

    document: ParsedDocument

    @property
    def units(self) -> Sequence[TextUnit]:
        """The document's texts."""
        return self.document.units

    @property
    def total(self) -> int:
        """How many texts there are."""
        return len(self.document.units)


TextSource = LineSource | DocumentSource


def texts_of_arguments(texts: Sequence[str], text_format: TextFormat) -> LineSource:
    """Each argument is a text.

    Raises:
        FileFormatError: an argument holds bytes that are not text.
    """
    for number, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise FileFormatError(f"text {number} holds bytes that are not UTF-8") from None
    return LineSource([TextLine(text) for text in texts], len(texts), deque(), text_format)


def open_source(name: str | None, kind: FileFormat | None, languages: DocumentLanguages) -> TextSource:
    """The texts of a file, or of stdin.

    Args:
        name: of the file; None and ``-`` are stdin.
        kind: its format; None goes by its name.
        languages: what it is translated between.

    Raises:
        FileFormatError: the file is not of the format.
        OSError: it cannot be read.
    """
    if name is None or name == "-":
        kind = kind or FileFormat.TEXT
        if kind is FileFormat.TEXT:
            return LineSource(_terminated(read_lines(sys.stdin.buffer)), None, deque())
        data = sys.stdin.buffer.read()
    else:
        kind = kind or format_of(name)
        data = Path(name).read_bytes()
    document = parse_document(data, kind, languages)
    if isinstance(document, PlainTextFile):
        return LineSource(
            document.lines, len(document.lines), deque(), document.text_format, document.encoding
        )
    return DocumentSource(document)


def _terminated(lines: Iterable[TextLine]) -> Iterator[TextLine]:
    """Lines of a stream: the last one too has a line end, for those who read ours by lines."""
    return (TextLine(line.text, line.end or "\n", line.start) for line in lines)


def _paragraphs(lines: Iterable[TextLine]) -> Iterator[TextLine]:
    """Lines, those of a paragraph as one; line ends within it are kept."""
    paragraph: TextLine | None = None
    for line in lines:
        if paragraph is None:
            paragraph = line
        elif line.text.strip() and paragraph.text.strip():
            paragraph = TextLine(f"{paragraph.text}{paragraph.end}{line.text}", line.end, paragraph.start)
        else:
            yield paragraph
            paragraph = line
    if paragraph is not None:
        yield paragraph
