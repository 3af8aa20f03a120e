"""What `yiwen translate` writes: results as bytes, and where they go."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

from cli.service import TextResult
from cli.translate_input import DocumentSource, LineSource, TextSource
from documents.interface import UnitTranslation
from protocol.files import write_atomically


class Renderer(Protocol):
    """Makes bytes of results, which come in the order of the texts."""

    def add(self, result: TextResult) -> bytes:
        """Bytes that can be written now."""

    def finish(self) -> bytes:
        """Bytes that can be written when all results are there."""


class LineRenderer:
    """A line for each text, with the line end of the source."""

    def __init__(self, source: LineSource) -> None:
        self._source = source

    def add(self, result: TextResult) -> bytes:
        """The translation's line."""
        line = self._source.pending.popleft()
        return line.replaced_by(result.as_line()).encode(self._source.encoding)

    def finish(self) -> bytes:
        """Nothing."""
        return b""


class JsonRenderer:
    """A JSON object in one line for each text."""

    def __init__(self, source: TextSource) -> None:
        self._source = source

    def add(self, result: TextResult) -> bytes:
        """The object's line."""
        if isinstance(self._source, LineSource):
            self._source.pending.popleft()
        return f"{result.as_json()}\n".encode()

    def finish(self) -> bytes:
        """Nothing."""
        return b""


class DocumentRenderer:
    """The document, when all results are there."""

    def __init__(self, source: DocumentSource) -> None:
        self._document = source.document
        self._translations: list[UnitTranslation] = []

    def add(self, result: TextResult) -> bytes:
        """Nothing yet."""
        text = None if result.error is not None else result.translation
        self._translations.append(UnitTranslation(text, is_flagged=bool(result.flags)))
        return b""

    def finish(self) -> bytes:
        """The document."""
        return self._document.render(self._translations)


def renderer_of(source: TextSource, *, as_json: bool) -> Renderer:
    """How the results of ``source`` are written."""
    if as_json:
        return JsonRenderer(source)
    return LineRenderer(source) if isinstance(source, LineSource) else DocumentRenderer(source)


class Output(Protocol):
    """Where bytes go."""

    def write(self, data: bytes) -> None:
        """Take bytes."""

    def commit(self) -> None:
        """All bytes were taken: make them last."""


class StreamOutput:
    """Stdout, a device or a pipe: bytes are written at once."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file: BinaryIO | None = None if path else sys.stdout.buffer

    def write(self, data: bytes) -> None:
        """Write and flush."""
        if self._file is None and self._path is not None:
            self._file = self._path.open("wb")
        if self._file is not None and data:
            self._file.write(data)
            self._file.flush()

    def commit(self) -> None:
        """Close what was opened."""
        if self._path is not None and self._file is not None:
            self._file.close()


class FileOutput:
    """A file that is replaced in one piece at the end; until then an old one stays as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep for :meth:`commit`."""
        self._parts.append(data)

    def commit(self) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written; an old file is as it was.
        """
        write_atomically(self.path, b"".join(self._parts))


def open_output(name: str | None) -> StreamOutput | FileOutput:
    """Where results go; nothing is opened or changed yet.

    Args:
        name: of a file; None and ``-`` are stdout. A link's target is replaced, not the link.

    Raises:
        OSError: the file could not be written in the end.
    """
    if name is None or name == "-":
        return StreamOutput()
    path = Path(os.path.realpath(name))
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a directory")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        return StreamOutput(Path(name))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name} cannot be written: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PermissionError(f"{name} cannot be written: no permission")
    return FileOutput(path)
