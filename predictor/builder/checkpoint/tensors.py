"""A checkpoint's tensors, read in slices: safetensors files, whole or sharded, quantized or not, or a GGUF file.

Headers are checked against the files when the checkpoint is opened, so a missing or cut shard is found before
a byte is written. The tensors that a decoder needs are listed in
:mod:`predictor.builder.weights.decoder_matrices`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from predictor.builder.checkpoint.directory import gguf_in, no_weights
from predictor.builder.checkpoint.gguf_families import gguf_matrices
from predictor.builder.checkpoint.gguf_file import checkpoint_tensor, read_gguf
from predictor.builder.checkpoint.packed import BlockCodes, BlockLayout, CodedMatrix, PackedMatrix
from predictor.builder.checkpoint.quantization_config import read_quantization
from predictor.builder.checkpoint.quantized import quantized_tensors
from predictor.builder.checkpoint.stored_tensors import (
    DTYPES,
    CheckpointTensor,
    Float32Array,
    read_header,
    read_numbers,
)
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
READ_BYTES = 8 << 20
"""Size of a slice in float32: large enough for the disk's full speed, and a dozen at a time need little memory."""


class MatrixUpdate(Protocol):
    """What is added to a matrix when it is read."""

    def rows(self, first: int, count: int) -> Float32Array:
        """The rows ``[first, first + count)`` of what is added."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint: the headers of all its files."""

    directory: Path
    files: tuple[Path, ...]
    tensors: Mapping[str, CheckpointTensor]
    updates: Mapping[str, MatrixUpdate] = field(default_factory=dict)
    """What an adapter adds, by name of the tensor."""
    packed: Mapping[str, PackedMatrix] = field(default_factory=dict)
    """Matrices that are not stored as their numbers, by name; they stand in :attr:`tensors`, too."""

    def entry(self, name: str, shape: tuple[int, ...]) -> CheckpointTensor:
        """The entry of tensor ``name``.

        Raises:
            BrokenCheckpoint: the tensor is missing, or has another shape.
            UnsupportedModel: it is not stored in a form that is read.
        """
        entry = self.tensors.get(name)
        if entry is None:
            self._refuse_packed(name)
            raise BrokenCheckpoint(
                f"{self.directory}: tensor {name} is missing, but config.json calls for it"
            )
        if entry.shape != shape:
            raise BrokenCheckpoint(
                f"{entry.path.name}: tensor {name} has shape {list(entry.shape)}, "
                f"but config.json calls for {list(shape)}"
            )
        if entry.dtype not in DTYPES and name not in self.packed:
            raise UnsupportedModel(
                f"{entry.path.name}: tensor {name} has dtype {entry.dtype}; supported: F32, F16, BF16{_hint(entry)}"
            )
        return entry

    def _refuse_packed(self, name: str) -> None:
        """Refuse a matrix that is there in the form of GPTQ or AWQ, where no file says which."""
        packed = f"{name.removesuffix('weight')}qweight"
        if packed in self.tensors:
            raise UnsupportedModel(
                f"{self.directory}: it has {packed} instead of {name}: the checkpoint is quantized (GPTQ or AWQ), "
                "and no file says how: fetch its config.json with quantization_config, or quantize_config.json"
            )

    def rows(self, name: str) -> Iterator[Float32Array]:
        """Slices along the first axis of a tensor, in order: float32, about ``READ_BYTES`` each.

        Raises:
            BrokenCheckpoint: the file was cut short since it was opened, cannot be read, or holds NaN or infinity.
        """
        return (read() for read in self.reads(name))

    def reads(self, name: str, *, unit: int = 1) -> Iterator[Callable[[], Float32Array]]:
        """Functions that read the slices of :meth:`rows`; they may be called in any order and from any thread.

        Args:
            name: of the tensor.
            unit: rows that belong together; a slice has a multiple of them.
        """
        for first, rows in self._slices(name, unit):
            yield partial(self._read, name, first, rows)

    def layout(self, names: Sequence[str]) -> BlockLayout | None:
        """The layout in which the codes of all matrices ``names`` can be kept, below each other; None if in none."""
        layouts: list[BlockLayout] = []
        for name in names:
            matrix = None if name in self.updates else self.packed.get(name)
            layout = matrix.layout() if isinstance(matrix, CodedMatrix) else None
            if layout is None:
                return None
            layouts.append(layout)
        forms = {(layout.bits, layout.block) for layout in layouts}
        if len(forms) != 1:
            return None
        return BlockLayout(*forms.pop(), any(layout.zero_points for layout in layouts))

    def block_reads(self, name: str, *, unit: int = 1) -> Iterator[Callable[[], BlockCodes]]:
        """As :meth:`reads`, for the codes of a matrix that has a layout."""
        matrix = self.packed[name]
        assert isinstance(matrix, CodedMatrix), "a matrix without a layout"
        for first, rows in self._slices(name, unit):
            yield partial(matrix.blocks, first, rows)

    def digest(self, advance: Callable[[int], None]) -> str:
        """sha256 over the names and contents of config.json and all weight files.

        Args:
            advance: called with the number of bytes read since the last call.
        """
        digest = hashlib.sha256()
        for path in (self.directory / "config.json", *self.files):
            digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
            for block in read_blocks(path):
                digest.update(block)
                advance(len(block))
        return digest.hexdigest()

    def bytes(self) -> int:
        """Size of all weight files."""
        return sum(path.stat().st_size for path in self.files)

    def _slices(self, name: str, unit: int) -> Iterator[tuple[int, int]]:
        """First rows and numbers of rows of the slices of a tensor."""
        shape = self.tensors[name].shape
        rows_per_read = max(1, READ_BYTES // (4 * math.prod(shape[1:])))
        rows_per_read = max(unit, rows_per_read // unit * unit)
        for first in range(0, shape[0], rows_per_read):
            yield first, min(rows_per_read, shape[0] - first)

    def _read(self, name: str, first: int, rows: int) -> Float32Array:
        """Rows ``[first, first + rows)`` of a tensor, with what is added to it."""
        entry, update = self.tensors[name], self.updates.get(name)
        if name in self.packed:
            values = self.packed[name].rows(first, rows)
        else:
            values = read_numbers(name, entry, slice(first, first + rows))
        if update is not None:
            values = values + update.rows(first, rows)
        return _finite(name, entry, values)


def open_checkpoint(directory: Path) -> Checkpoint:
    """Read the headers of a checkpoint's weight files.

    Raises:
        BrokenCheckpoint: no weights, a shard that is missing or cut short, an index that disagrees with its shards,
            parts of a quantized matrix that do not fit each other.
        UnsupportedModel: it is quantized in a form that is not read.
    """
    config = read_quantization(directory)
    index = directory / INDEX_FILE
    single = directory / SINGLE_FILE
    if index.exists():
        files, stored = _open_sharded(directory, index)
    elif single.exists():
        files, stored = (single,), read_header(single)
    elif (gguf := gguf_in(directory)) is not None:
        return _open_gguf(directory, gguf)
    else:
        raise no_weights(directory)
    found = quantized_tensors(stored, config)
    return Checkpoint(directory, files, found.tensors, packed=found.packed)


def read_tensors(path: Path) -> dict[str, Float32Array]:
    """All tensors of a small safetensors file, by name.

    Raises:
        BrokenCheckpoint: it cannot be read, or holds NaN or infinity.
        UnsupportedModel: a tensor is not of :data:`DTYPES`.
    """
    found = {}
    for name, entry in read_header(path).items():
        if entry.dtype not in DTYPES:
            raise UnsupportedModel(
                f"{path}: tensor {name} has dtype {entry.dtype}; supported: F32, F16, BF16"
            )
        found[name] = _finite(name, entry, read_numbers(name, entry))
    return found


def read_blocks(path: Path, size: int = 4 << 20) -> Iterator[memoryview]:
    """A file's content in blocks of at most ``size`` bytes; each is valid until the next."""
    buffer = memoryview(bytearray(size))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def _open_gguf(directory: Path, path: Path) -> Checkpoint:
    file = read_gguf(path)
    matrices = gguf_matrices(file)
    tensors = {name: checkpoint_tensor(matrix) for name, matrix in matrices.items()}
    return Checkpoint(directory, (file.path,), tensors, packed=matrices)


def _open_sharded(directory: Path, index: Path) -> tuple[tuple[Path, ...], dict[str, CheckpointTensor]]:
    """The files and the tensors that an index names."""
    try:
        placement = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(placement.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenCheckpoint(f"{index} is not a safetensors index: {error!r}") from error
    headers = {}
    for name in names:
        path = directory / str(name)
        if path.parent != directory:
            raise BrokenCheckpoint(f"{index} names a file outside of the checkpoint directory")
        if not path.exists():
            raise BrokenCheckpoint(f"{path} is missing, but {index.name} names it: fetch the shard again")
        headers[name] = read_header(path)
    tensors: dict[str, CheckpointTensor] = {}
    for tensor, name in placement.items():
        if tensor not in headers[name]:
            raise BrokenCheckpoint(f"{index.name} says that {name} holds tensor {tensor}, but it does not")
        tensors[tensor] = headers[name][tensor]
    return tuple(directory / str(name) for name in names), tensors


def _finite(name: str, entry: CheckpointTensor, values: Float32Array) -> Float32Array:
    if not np.isfinite(values).all():
        raise BrokenCheckpoint(f"{entry.path}: tensor {name} holds NaN or infinity")
    return values


def _hint(entry: CheckpointTensor) -> str:
    """What to do about a dtype."""
    if not entry.dtype.startswith("F8"):
        return ""
    return ", and 8-bit floats where config.json has a quantization_config that says how they are scaled"
