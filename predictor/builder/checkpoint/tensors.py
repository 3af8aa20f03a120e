"""A Hugging Face checkpoint's tensors, read in slices: safetensors files, whole or sharded.

Headers are checked against the files when the checkpoint is opened, so a missing or cut shard is found before
a byte is written. Each slice opens its file anew and copies its rows: a memory map that stayed open would keep the
whole checkpoint in the process's resident memory.

The tensors that a decoder needs are listed in :mod:`predictor.builder.weights.decoder_matrices`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy, which safetensors looks for
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from predictor.builder.checkpoint.directory import check_no_pointer, no_weights
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
READ_BYTES = 8 << 20
"""Size of a slice in float32: large enough for the disk's full speed, and a dozen at a time need little memory."""
DTYPES = ("F32", "F16", "BF16")

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """Where a tensor is stored."""

    path: Path
    dtype: str
    """safetensors' name. Others than :data:`DTYPES` are refused when the tensor is asked for."""
    shape: tuple[int, ...]


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

    def entry(self, name: str, shape: tuple[int, ...]) -> CheckpointTensor:
        """The entry of tensor ``name``.

        Raises:
            BrokenCheckpoint: the tensor is missing, or has another shape.
            UnsupportedModel: its dtype is not float32, float16 or bfloat16.
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
        if entry.dtype not in DTYPES:
            raise UnsupportedModel(
                f"{entry.path.name}: tensor {name} has dtype {entry.dtype}; supported: F32, F16, BF16"
            )
        return entry

    def _refuse_packed(self, name: str) -> None:
        """Refuse a matrix that is there in the form of GPTQ or AWQ."""
        packed = f"{name.removesuffix('weight')}qweight"
        if packed in self.tensors:
            raise UnsupportedModel(
                f"{self.directory}: it has {packed} instead of {name}: the checkpoint is quantized (GPTQ or AWQ); "
                "build from its float32, float16 or bfloat16 original"
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
        entry = self.tensors[name]
        rows_per_read = max(1, READ_BYTES // (4 * math.prod(entry.shape[1:])))
        rows_per_read = max(unit, rows_per_read // unit * unit)
        for first in range(0, entry.shape[0], rows_per_read):
            rows = min(rows_per_read, entry.shape[0] - first)
            yield partial(_read_rows, name, entry, first, rows, self.updates.get(name))

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


def open_checkpoint(directory: Path) -> Checkpoint:
    """Read the headers of a checkpoint's weight files.

    Raises:
        BrokenCheckpoint: no weights, a shard that is missing or cut short, an index that disagrees with its shards.
    """
    index = directory / INDEX_FILE
    single = directory / SINGLE_FILE
    if index.exists():
        return _open_sharded(directory, index)
    if not single.exists():
        raise no_weights(directory)
    return Checkpoint(directory, (single,), _read_header(single))


def read_tensors(path: Path) -> dict[str, Float32Array]:
    """All tensors of a small safetensors file, by name.

    Raises:
        BrokenCheckpoint: it cannot be read, or holds NaN or infinity.
        UnsupportedModel: a tensor is not of :data:`DTYPES`.
    """
    found = {}
    for name, entry in _read_header(path).items():
        if entry.dtype not in DTYPES:
            raise UnsupportedModel(
                f"{path}: tensor {name} has dtype {entry.dtype}; supported: F32, F16, BF16"
            )
        found[name] = _read_rows(name, entry, 0, entry.shape[0] if entry.shape else 1)
    return found


def read_blocks(path: Path, size: int = 4 << 20) -> Iterator[memoryview]:
    """A file's content in blocks of at most ``size`` bytes; each is valid until the next."""
    buffer = memoryview(bytearray(size))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def _open_sharded(directory: Path, index: Path) -> Checkpoint:
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
        headers[name] = _read_header(path)
    tensors: dict[str, CheckpointTensor] = {}
    for tensor, name in placement.items():
        if tensor not in headers[name]:
            raise BrokenCheckpoint(f"{index.name} says that {name} holds tensor {tensor}, but it does not")
        tensors[tensor] = headers[name][tensor]
    return Checkpoint(directory, tuple(directory / str(name) for name in names), tensors)


def _read_header(path: Path) -> dict[str, CheckpointTensor]:
    check_no_pointer(path)
    size = path.stat().st_size
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return {
                name: CheckpointTensor(path, str(entry.get_dtype()), tuple(entry.get_shape()))
                for name, entry in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpoint(_header_fault(path, size, str(error))) from error


def _header_fault(path: Path, size: int, reason: str) -> str:
    """The message for a file that safetensors refuses with ``reason``."""
    if any(text in reason for text in ("header too", "invalid header length")):
        return f"{path} is no safetensors file, or is cut short ({size} bytes): fetch it again"
    if "not fully covered" in reason:
        return f"{path} has {size} bytes, but its header calls for {_expected_size(path)}: fetch it again"
    return f"{path} has an unreadable safetensors header: {reason}; fetch it again"


def _expected_size(path: Path) -> int:
    """The size that a readable header calls for, which the library's error does not tell."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    ends = (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    return 8 + length + max(ends, default=0)


def _read_rows(
    name: str, entry: CheckpointTensor, first: int, rows: int, update: MatrixUpdate | None = None
) -> Float32Array:
    """Rows ``[first, first + rows)`` of a tensor, with what is added to it."""
    try:
        with safe_open(entry.path, framework="numpy") as file:
            stored = file.get_slice(name)[first : first + rows]
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpoint(
            f"{entry.path} cannot be read: it ends too early, or was replaced ({error}); fetch it again"
        ) from error
    values: Float32Array = stored.astype(np.float32, copy=False)
    if update is not None:
        values = values + update.rows(first, rows)
    if not np.isfinite(values).all():
        raise BrokenCheckpoint(f"{entry.path}: tensor {name} holds NaN or infinity")
    return values
