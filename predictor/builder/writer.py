"""Writes ``weights.bin`` as planned, slice by slice, and picks up where a killed build stopped.

Beside the file lies a journal with one line per finished piece: its end and its digest. A resumed build keeps
the pieces whose bytes still have that digest and writes the rest. Memory stays at a few slices whatever the
size of a tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint import Checkpoint
from predictor.builder.errors import UnsupportedModel
from predictor.builder.progress import Reporter
from predictor.builder.quantize import quantize_rows
from predictor.builder.weights import Piece, Stored, WeightPlan

JOURNAL_FILE = "weights.journal"
Slice = tuple[Stored, npt.NDArray[np.generic]]


def write_weights(plan: WeightPlan, checkpoint: Checkpoint, path: Path, reporter: Reporter) -> str:
    """Write the planned file to ``path``, or finish one that a killed build began.

    Returns:
        The file's sha256.

    Raises:
        BrokenCheckpoint: a source became unreadable.
        UnsupportedModel: a number does not fit the type in which it is to be kept.
        OSError: the file cannot be written; what was written stays for a later build.
    """
    journal = path.with_name(JOURNAL_FILE)
    reporter.begin(f"write {path.name}", plan.total_bytes)
    with path.open("r+b" if path.exists() else "w+b") as file, journal.open("a+b") as log:
        writer = _Writer(file, log, reporter)
        kept = writer.keep_finished(plan)
        for piece in plan.pieces[kept:]:
            writer.write(piece, checkpoint)
    journal.unlink()
    return writer.digest.hexdigest()


class _Writer:
    """The file being written: its position, its digest, its journal."""

    def __init__(self, file: BinaryIO, log: BinaryIO, reporter: Reporter) -> None:
        self.digest = hashlib.sha256()
        self._file = file
        self._log = log
        self._reporter = reporter
        self._position = 0

    def keep_finished(self, plan: WeightPlan) -> int:
        """Read back what the journal vouches for, and cut the file after it; the number of pieces kept."""
        lines = _journal(self._log)
        kept = 0
        for piece, line in zip(plan.pieces, lines, strict=False):
            after, data = self._read_piece(piece)
            if line != {"end": piece.end, "sha256": data}:
                break
            self.digest, self._position, kept = after, piece.end, kept + 1
            self._reporter.advance(0, piece.name)
        self._reporter.advance(self._position)
        self._file.seek(self._position)
        self._file.truncate()
        self._log.seek(0)
        self._log.truncate()
        self._log.write(b"".join(_line(line) for line in lines[:kept]))
        return kept

    def write(self, piece: Piece, checkpoint: Checkpoint) -> None:
        """Append one piece and vouch for it."""
        own = hashlib.sha256()
        for stored, values in _slices(piece, checkpoint):
            padding = bytes(max(0, stored.offset - self._position))
            for data in (padding, np.ascontiguousarray(values).data.cast("B")):
                self._file.write(data)
                self.digest.update(data)
                own.update(data)
                self._position += len(data)
                self._reporter.advance(len(data), piece.name)
        if self._position != piece.end:
            raise AssertionError(f"{piece.name} ends at {self._position}, planned was {piece.end}")
        # No fsync between the two: a resumed build believes no line without reading the bytes it vouches for.
        self._file.flush()
        self._log.write(_line({"end": piece.end, "sha256": own.hexdigest()}))
        self._log.flush()

    def _read_piece(self, piece: Piece) -> tuple[hashlib._Hash, str]:
        """The file's digest up to the end of ``piece`` as it lies there, and the piece's own."""
        whole, own = self.digest.copy(), hashlib.sha256()
        self._file.seek(self._position)
        left = piece.end - self._position
        while left and (data := self._file.read(min(left, 4 << 20))):
            whole.update(data)
            own.update(data)
            left -= len(data)
        return whole, own.hexdigest()


def _journal(log: BinaryIO) -> list[dict[str, object]]:
    log.seek(0)
    lines: list[dict[str, object]] = []
    with suppress(ValueError):  # the line that was being written when the build was killed
        for line in log:
            lines.append(json.loads(line))
    return lines


def _line(line: dict[str, object]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _slices(piece: Piece, checkpoint: Checkpoint) -> Iterator[Slice]:
    """The content of a piece in the order of the file."""
    if piece.table is not None:
        yield piece.tensors[0], piece.table
        return
    rows = (part for source in piece.sources for part in checkpoint.rows(source))
    if piece.quantised is None:
        for part in rows:
            yield piece.tensors[0], _converted(part, piece.tensors[0])
        return
    codes, scales = piece.tensors
    collected = []  # the scales of a whole matrix are small beside its codes, and come after them
    for part in rows:
        packed, part_scales = quantize_rows(part, piece.quantised)
        collected.append(part_scales)
        yield codes, packed
    yield scales, np.concatenate(collected)


def _converted(part: npt.NDArray[np.float32], stored: Stored) -> npt.NDArray[np.generic]:
    """``part`` in the type of ``stored``; a number that would become infinite is refused."""
    if stored.dtype == "float32":
        return part
    largest, limit = float(np.abs(part).max()), float(np.finfo(stored.dtype).max)
    if largest > limit:
        raise UnsupportedModel(
            f"tensor {stored.name} holds {largest:.6g}, and {stored.dtype} ends at {limit:.6g}: "
            "build with --precision float32"
        )
    return part.astype(stored.dtype)
