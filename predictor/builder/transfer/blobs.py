"""Content of a registry's blobs: bytes in memory and parts of files, in a row, as one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictor.builder.transfer.digests import ContentDigest

PIECE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes of a file."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobContent:
    """The content of a blob, which is never in memory as a whole."""

    parts: tuple[bytes | FilePart, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(part) if isinstance(part, bytes) else part.size for part in self.parts)

    def pieces(self, start: int = 0) -> Iterator[bytes]:
        """The content from byte ``start`` on, in pieces of up to :data:`PIECE_BYTES`."""
        for part in self.parts:
            size = len(part) if isinstance(part, bytes) else part.size
            if start >= size:
                start -= size
                continue
            if isinstance(part, bytes):
                yield part[start:]
            else:
                yield from _file_pieces(part, start)
            start = 0

    def digest(self, advance: Callable[[int], None]) -> ContentDigest:
        """The sha256, for which all of it is read.

        Args:
            advance: takes the number of bytes of each piece.
        """
        found = hashlib.sha256()
        for piece in self.pieces():
            found.update(piece)
            advance(len(piece))
        return ContentDigest("sha256", found.hexdigest())


def chunks(content: BlobContent, start: int, size: int) -> Iterator[bytes]:
    """The content from byte ``start`` on, in chunks of exactly ``size`` bytes but the last."""
    held: list[bytes] = []
    count = 0
    for piece in content.pieces(start):
        held.append(piece)
        count += len(piece)
        while count >= size:
            joined = b"".join(held)
            yield joined[:size]
            held, count = [joined[size:]], count - size
    if count:
        yield b"".join(held)


def split_file(path: Path, size: int, largest: int) -> Sequence[FilePart]:
    """Parts of a file, each of up to ``largest`` bytes; one for an empty file."""
    return [FilePart(path, offset, min(largest, size - offset)) for offset in range(0, max(1, size), largest)]


def _file_pieces(part: FilePart, start: int) -> Iterator[bytes]:
    with part.path.open("rb") as file:
        file.seek(part.offset + start)
        left = part.size - start
        while left:
            piece = file.read(min(PIECE_BYTES, left))
            if not piece:
                raise OSError(f"{part.path} became shorter while it was read")
            left -= len(piece)
            yield piece
