"""Writes ``weights.bin`` by its layout, slice by slice, and resumes an interrupted build.

A journal beside the file has one line per finished entry: its end and its digest. A resumed build keeps the entries
whose bytes still have that digest and writes the rest. Several threads read and convert slices while earlier ones are
hashed and written, so memory use does not depend on the size of a tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.packed import BlockCodes
from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from predictor.builder.parallel import BackgroundDigest, run_ordered
from predictor.builder.progress import Reporter
from predictor.builder.weights.block_quantize import (
    Codes,
    Float32Array,
    QuantFormat,
    packed_codes,
    quantize_rows,
)
from predictor.builder.weights.file_layout import (
    UNCHANGED,
    Adjustment,
    WeightEntry,
    WeightFileLayout,
    WeightTensor,
)

JOURNAL_FILE = "weights.journal"
THREADS = 6
"""Each converts about 0.5 GB of float16 per second; hashing, in one thread, is slower than six of them."""

Array = npt.NDArray[np.generic]
MatrixQuantizer = Callable[[str, Float32Array, QuantFormat], tuple[Codes, Float32Array]]
"""Codes and scales of rows, float32 [N, K], of the matrix with a name in the file. Called from several threads."""
Read = Callable[[], Float32Array]
"""Reads a slice of a checkpoint tensor."""
Slice = tuple[Array, ...]
"""What to write into each tensor of an entry: values; of a quantized one codes, scales and zero points."""


def round_to_nearest(name: str, rows: Float32Array, form: QuantFormat) -> tuple[Codes, Float32Array]:
    """The :data:`MatrixQuantizer` of builds without calibration."""
    return quantize_rows(rows, form)


def write_weights(
    plan: WeightFileLayout,
    checkpoint: Checkpoint,
    path: Path,
    reporter: Reporter,
    quantizer: MatrixQuantizer = round_to_nearest,
) -> str:
    """Write ``weights.bin``, or finish one that an interrupted build began.

    Args:
        plan: the layout of the file.
        checkpoint: that the layout's sources are in.
        path: of the file.
        reporter: of the progress.
        quantizer: chooses the codes of quantized matrices.

    Returns:
        The file's sha256.

    Raises:
        BrokenCheckpoint: a source became unreadable.
        UnsupportedModel: a number is out of the range of its type in the file.
        OSError: the file cannot be written; a later build resumes from what was written.
    """
    journal = path.with_name(JOURNAL_FILE)
    reporter.begin(f"write {path.name}", plan.total_bytes)
    with path.open("r+b" if path.exists() else "w+b") as file, journal.open("a+b") as log:
        writer = _Writer(file, log, reporter)
        begun, kept = writer.keep_finished(plan)
        work = [(entry, tuple(_tasks(entry, checkpoint, quantizer))) for entry in plan.entries[kept:]]
        slices = run_ordered((task for _, tasks in work for task in tasks), threads=THREADS)
        with closing(slices), BackgroundDigest(begun) as whole:
            for entry, tasks in work:
                writer.write(entry, islice(slices, len(tasks)), whole)
            sha256 = whole.hexdigest()
    journal.unlink()
    return sha256


class _Writer:
    """The file being written, with its position and its journal."""

    def __init__(self, file: BinaryIO, log: BinaryIO, reporter: Reporter) -> None:
        self._file = file
        self._log = log
        self._reporter = reporter
        self._position = 0

    def keep_finished(self, plan: WeightFileLayout) -> tuple[hashlib._Hash, int]:
        """Truncate the file after the last entry with its journalled digest.

        Returns:
            The digest of what is kept, and the number of entries.
        """
        lines = _journal(self._log)
        digest, kept = hashlib.sha256(), 0
        for entry, line in zip(plan.entries, lines, strict=False):
            after, data = self._read_entry(entry, digest)
            if line != {"end": entry.end, "sha256": data}:
                break
            digest, self._position, kept = after, entry.end, kept + 1
            self._reporter.advance(0, entry.name)
        self._reporter.advance(self._position)
        self._file.seek(self._position)
        self._file.truncate()
        self._log.seek(0)
        self._log.truncate()
        self._log.write(b"".join(_line(line) for line in lines[:kept]))
        return digest, kept

    def write(self, entry: WeightEntry, slices: Iterator[Slice], whole: BackgroundDigest) -> None:
        """Append one entry to the file, to its digest and to the journal.

        Args:
            entry: the next one of the layout.
            slices: its content.
            whole: digest of the whole file.
        """
        with BackgroundDigest() as own:
            for stored, values in _placed(entry, slices):
                padding = bytes(max(0, stored.offset - self._position))
                for data in (padding, np.ascontiguousarray(values).data.cast("B")):
                    whole.update(data)
                    own.update(data)
                    self._file.write(data)
                    self._position += len(data)
                    self._reporter.advance(len(data), entry.name)
            sha256 = own.hexdigest()
        if self._position != entry.end:
            raise AssertionError(f"{entry.name} ends at {self._position}, planned was {entry.end}")
        # No fsync between the two: a resumed build compares every journalled digest with the bytes in the file.
        self._file.flush()
        self._log.write(_line({"end": entry.end, "sha256": sha256}))
        self._log.flush()

    def _read_entry(self, entry: WeightEntry, before: hashlib._Hash) -> tuple[hashlib._Hash, str]:
        """Digests of the file up to the end of ``entry``, and of the entry alone, as they are on the disk."""
        whole, own = before.copy(), hashlib.sha256()
        self._file.seek(self._position)
        remaining = entry.end - self._position
        while remaining and (data := self._file.read(min(remaining, 4 << 20))):
            whole.update(data)
            own.update(data)
            remaining -= len(data)
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


def _tasks(
    entry: WeightEntry, checkpoint: Checkpoint, quantizer: MatrixQuantizer
) -> Iterator[Callable[[], Slice]]:
    """Functions that compute the content of an entry, one per slice."""
    if entry.table is not None:
        yield partial(_unchanged, entry.table)
    if entry.kept:
        yield from _kept_tasks(entry, checkpoint)
        return
    for read, adjustment in _reads(entry, checkpoint):
        yield partial(_converted, read, entry, adjustment, quantizer)


def _kept_tasks(entry: WeightEntry, checkpoint: Checkpoint) -> Iterator[Callable[[], Slice]]:
    """The same for an entry with the checkpoint's own codes."""
    adjustments = entry.adjustments or (UNCHANGED,) * len(entry.sources)
    for source, adjustment in zip(entry.sources, adjustments, strict=True):
        for read in checkpoint.block_reads(source, unit=adjustment.unit):
            yield partial(_kept, read, entry, adjustment)


def _reads(entry: WeightEntry, checkpoint: Checkpoint) -> Iterator[tuple[Read, Adjustment]]:
    """Functions that read the slices of an entry's sources, and what is folded into them."""
    adjustments = entry.adjustments or (UNCHANGED,) * len(entry.sources)
    if entry.alternating:
        pairs = zip(entry.sources[0::2], entry.sources[1::2], adjustments[0::2], strict=True)
        for first, second, adjustment in pairs:
            for both in zip(checkpoint.reads(first), checkpoint.reads(second), strict=True):
                yield partial(_alternated, *both), adjustment
        return
    for source, adjustment in zip(entry.sources, adjustments, strict=True):
        for read in checkpoint.reads(source, unit=adjustment.unit):
            yield read, adjustment


def _placed(entry: WeightEntry, slices: Iterator[Slice]) -> Iterator[tuple[WeightTensor, Array]]:
    """Slices in the order of the file, each with the tensor that it belongs to."""
    collected = []  # what follows the codes of the whole matrix is small enough to collect
    for values, *others in slices:
        yield entry.tensors[0], values
        collected.append(others)
    for tensor, parts in zip(entry.tensors[1:], zip(*collected, strict=True), strict=True):
        yield tensor, np.concatenate(parts)


def _unchanged(values: Array) -> Slice:
    return (values,)


def _kept(read: Callable[[], BlockCodes], entry: WeightEntry, adjustment: Adjustment) -> Slice:
    """A slice with the checkpoint's own codes; a factor goes into the scales."""
    blocks, form = read(), entry.quantized
    assert form is not None
    codes = packed_codes(adjustment.reordered(blocks.codes), form)
    scales = adjustment.applied(blocks.scales)
    if not np.isfinite(scales).all():
        raise BrokenCheckpoint(f"the scales of {', '.join(entry.sources)} hold NaN or infinity")
    zero_points = packed_codes(adjustment.reordered(blocks.zero_points), form)
    return (codes, scales, zero_points)[: len(entry.tensors)]


def _alternated(first: Read, second: Read) -> Float32Array:
    """Rows of two slices of one shape in turn."""
    rows = np.stack((first(), second()), axis=1)
    return rows.reshape(-1, *rows.shape[2:])


def _converted(read: Read, entry: WeightEntry, adjustment: Adjustment, quantizer: MatrixQuantizer) -> Slice:
    """A slice in the form in which the entry is stored; a number that would become infinite is refused."""
    values, stored = adjustment.applied(read()), entry.tensors[0]
    if entry.quantized is not None:
        return quantizer(stored.name, values, entry.quantized)
    if stored.dtype == "float32":
        return (values,)
    largest, limit = float(max(values.max(), -values.min())), float(np.finfo(stored.dtype).max)
    if largest > limit:
        raise UnsupportedModel(
            f"tensor {stored.name} holds {largest:.6g}, and {stored.dtype} ends at {limit:.6g}: "
            "build with --precision float32"
        )
    return (values.astype(stored.dtype),)
