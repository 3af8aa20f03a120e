"""A Hugging Face checkpoint's tensors, read in slices: safetensors files, whole or sharded.

Headers are checked against the files when the checkpoint is opened, so a missing or cut shard is found before
a byte is written. Tensors are read with plain reads of a few rows at a time, not through a memory map: what
was read once would stay in the process's resident memory. Does not know which tensors a decoder needs
(:mod:`predictor.builder.weights.decoder_matrices`).

Format of a file: https://huggingface.co/docs/safetensors (8 bytes length, JSON header, data).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
READ_BYTES = 8 << 20
"""One slice, in float32: large enough for the disk's full speed, and a dozen at a time need little memory."""

_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_HEADER_LIMIT = 100 << 20  # the format's own limit

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """Where one tensor lies."""

    path: Path
    dtype: str
    """F32, F16 or BF16; others are refused when the tensor is asked for."""
    shape: tuple[int, ...]
    offset: int
    """Byte of the file at which its data begins."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint: the headers of all its files."""

    directory: Path
    files: tuple[Path, ...]
    tensors: Mapping[str, CheckpointTensor]

    def entry(self, name: str, shape: tuple[int, ...]) -> CheckpointTensor:
        """The entry of tensor ``name``.

        Raises:
            BrokenCheckpoint: there is none, or it is not of ``shape``.
            UnsupportedModel: its dtype is not float32, float16 or bfloat16.
        """
        entry = self.tensors.get(name)
        if entry is None:
            raise BrokenCheckpoint(
                f"{self.directory}: tensor {name} is missing, but config.json calls for it"
            )
        if entry.shape != shape:
            raise BrokenCheckpoint(
                f"{entry.path.name}: tensor {name} has shape {list(entry.shape)}, "
                f"but config.json calls for {list(shape)}"
            )
        if entry.dtype not in _ITEM_BYTES:
            raise UnsupportedModel(
                f"{entry.path.name}: tensor {name} has dtype {entry.dtype}; supported: F32, F16, BF16"
            )
        return entry

    def rows(self, name: str) -> Iterator[Float32Array]:
        """Slices along the first axis of a tensor, float32, in order, about ``READ_BYTES`` each.

        Raises:
            BrokenCheckpoint: the file became shorter since it was opened, cannot be read, or holds no finite number.
        """
        return (read() for read in self.reads(name))

    def reads(self, name: str) -> Iterator[Callable[[], Float32Array]]:
        """What gives the slices of :meth:`rows`, one by one, in whatever order and thread they are called."""
        entry = self.tensors[name]
        rows_per_read = max(1, READ_BYTES // (4 * math.prod(entry.shape[1:])))
        for first in range(0, entry.shape[0], rows_per_read):
            rows = min(rows_per_read, entry.shape[0] - first)
            yield partial(_read_rows, name, entry, first, rows)

    def digest(self, advance: Callable[[int], None]) -> str:
        """sha256 over config.json and every weight file with its name; ``advance`` hears of bytes read."""
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
        raise BrokenCheckpoint(
            f"{directory} has neither {SINGLE_FILE} nor {INDEX_FILE}: save the checkpoint as safetensors"
        )
    return Checkpoint(directory, (single,), _read_header(single))


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
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise BrokenCheckpoint(
                    f"{path} is no safetensors file, or is cut short ({size} bytes): fetch it again"
                )
            header = json.loads(file.read(length))
        entries = {
            name: _entry(path, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"
        }
        ends = [8 + length + header[name]["data_offsets"][1] for name in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BrokenCheckpoint(f"{path} has an unreadable safetensors header: {error!r}") from error
    wanted = max(ends, default=8 + length)
    if wanted != size:
        raise BrokenCheckpoint(f"{path} has {size} bytes, but its header calls for {wanted}: fetch it again")
    return entries


def _entry(path: Path, entry: Mapping[str, Any], data_start: int) -> CheckpointTensor:
    dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    item = _ITEM_BYTES.get(dtype)
    if begin < 0 or end < begin or (item is not None and end - begin != item * math.prod(shape)):
        raise BrokenCheckpoint(f"{path} has a tensor whose bytes do not fit its shape: fetch it again")
    return CheckpointTensor(path, dtype, shape, data_start + begin)


def _read_rows(name: str, entry: CheckpointTensor, first: int, rows: int) -> Float32Array:
    """Rows ``[first, first + rows)`` of a tensor."""
    row_shape = entry.shape[1:]
    row_bytes = math.prod(row_shape) * _ITEM_BYTES[entry.dtype]
    try:
        with entry.path.open("rb", buffering=0) as file:
            file.seek(entry.offset + first * row_bytes)
            raw = _read_exactly(file.readinto, rows * row_bytes)
    except (OSError, EOFError) as error:
        raise BrokenCheckpoint(f"{entry.path} cannot be read: {error}; fetch it again") from error
    values = _float32(raw, entry.dtype)
    if not np.isfinite(values).all():
        raise BrokenCheckpoint(f"{entry.path}: tensor {name} holds NaN or infinity")
    return values.reshape(rows, *row_shape)


def _read_exactly(readinto: Callable[[memoryview], int | None], size: int) -> npt.NDArray[np.uint8]:
    raw = np.empty(size, np.uint8)
    view = raw.data.cast("B")
    while view:
        count = readinto(view)
        if not count:
            raise EOFError("it ends too early")
        view = view[count:]
    return raw


def _float32(raw: npt.NDArray[np.uint8], dtype: str) -> Float32Array:
    if dtype == "F32":
        return raw.view("<f4")
    if dtype == "F16":
        return raw.view("<f2").astype(np.float32)
    # bfloat16 is the upper half of a float32
    widened: Float32Array = (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return widened
