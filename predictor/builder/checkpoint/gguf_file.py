"""A GGUF file: its metadata, and its tensors as matrices that are read in slices.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The package ``gguf``, by llama.cpp's authors, parses the
file and turns its blocks into numbers; what is kept of Q8_0 and Q4_0 (``block_q8_0``, ``block_q4_0`` in
ggml-common.h) are the codes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.packed import BlockCodes, BlockLayout, Float32Array
from predictor.builder.checkpoint.stored_tensors import CheckpointTensor
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

MAGIC = b"GGUF"
_BLOCK = 32
"""Values of a block of Q8_0 and of Q4_0, which begins with its scale in float16."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor is stored."""

    path: Path
    type_name: str
    """ggml's name, such as Q4_K."""
    shape: tuple[int, ...]
    """Rows first."""
    offset: int
    """Byte of the file."""
    row_bytes: int

    def raw(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """Bytes of the rows ``[first, first + count)``: uint8 [count, row_bytes].

        Raises:
            BrokenCheckpoint: the file is cut short, or cannot be read.
        """
        wanted, start = count * self.row_bytes, self.offset + first * self.row_bytes
        try:
            found = np.fromfile(self.path, np.uint8, wanted, offset=start)
        except OSError as error:
            raise BrokenCheckpoint(f"{self.path} cannot be read: {error}; fetch it again") from error
        if found.size != wanted:
            raise BrokenCheckpoint(f"{self.path} is cut short, or was replaced: fetch it again")
        return found.reshape(count, self.row_bytes)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A parsed file."""

    path: Path
    metadata: Mapping[str, Any]
    """The library's fields."""
    tensors: Mapping[str, GgufTensor]

    def value(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - a value of any type
        """The value of a field of the metadata."""
        field = self.metadata.get(name)
        return default if field is None else field.contents()

    def required(self, name: str) -> Any:  # noqa: ANN401 - a value of any type
        """The value of a field that must be there.

        Raises:
            BrokenCheckpoint: it is not.
        """
        value = self.value(name)
        if value is None:
            raise BrokenCheckpoint(f"{self.path}: its metadata has no {name}: convert the model again")
        return value


@dataclass(frozen=True, slots=True)
class GgufMatrix:
    """A tensor of the file in the order and with the values of the original."""

    tensor: GgufTensor
    interleaved: int = 0
    """Rows of a head in which the file has the two halves alternating, as llama.cpp rotates them; 0: none."""
    offset: float = 0.0
    """Added to all values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return self.tensor.shape

    @property
    def label(self) -> str:
        """Ggml's name of the form, for messages."""
        return self.tensor.type_name

    def rows(self, first: int, count: int) -> Float32Array:
        """The rows ``[first, first + count)``, float32, by the library's arithmetic."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        raw, chosen = self._raw(first, count)
        values = dequantize(raw, GGMLQuantizationType[self.tensor.type_name])
        if len(self.shape) == 1:
            values = values.reshape(-1)
        values = np.ascontiguousarray(values[chosen], np.float32)
        return values + np.float32(self.offset) if self.offset else values

    def layout(self) -> BlockLayout | None:
        """The layout of the forms whose codes can be kept: Q8_0 and Q4_0."""
        bits = {"Q8_0": 8, "Q4_0": 4}.get(self.tensor.type_name)
        if bits is None or len(self.shape) != 2 or self.offset:
            return None
        return BlockLayout(bits, _BLOCK, False)

    def blocks(self, first: int, count: int) -> BlockCodes:
        """The rows ``[first, first + count)`` in :meth:`layout`: scales d, codes q with d * (q - zero point)."""
        layout = self.layout()
        assert layout is not None, "a matrix without a layout"
        raw, chosen = self._raw(first, count)
        blocks = raw[chosen].reshape(count, -1, 2 + _BLOCK * layout.bits // 8)
        scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
        stored = blocks[..., 2:]
        if layout.bits == 8:
            codes = stored ^ np.uint8(128)
        else:  # the low halves are the first 16 values, the high ones the others
            codes = np.concatenate((stored & np.uint8(15), stored >> np.uint8(4)), axis=-1)
        middle = np.full(scales.shape, 1 << (layout.bits - 1), np.uint8)
        return BlockCodes(np.ascontiguousarray(codes.reshape(count, -1)), scales, middle)

    def _raw(self, first: int, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Bytes of rows (of a vector the whole), and which of its rows are asked for, in their order."""
        size = self.interleaved or 1
        start, end = first // size * size, -(-(first + count) // size) * size
        rows = np.arange(first, first + count)
        if self.interleaved:
            head, place = np.divmod(rows, size)
            half, pair = np.divmod(place, size // 2)
            rows = head * size + 2 * pair + half
        if len(self.shape) == 1:
            return self.tensor.raw(0, 1), rows
        return self.tensor.raw(start, end - start), rows - start


def read_gguf(path: Path) -> GgufFile:
    """Parse a file; parsing it again is free while it does not change.

    Raises:
        BrokenCheckpoint: it is no GGUF file, is cut short, or is one of several parts.
        UnsupportedModel: a tensor has a form that the library does not read.
    """
    path = path.resolve()
    stat = path.stat()
    return _parsed(path, stat.st_size, stat.st_mtime_ns)


def checkpoint_tensor(matrix: GgufMatrix) -> CheckpointTensor:
    """The entry of a tensor among those of a checkpoint."""
    return CheckpointTensor(matrix.tensor.path, matrix.label, matrix.shape)


@lru_cache(maxsize=2)
def _parsed(path: Path, size: int, changed: int) -> GgufFile:
    del changed  # a part of the key
    from gguf import GGUFReader

    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise BrokenCheckpoint(f"{path} does not begin as a GGUF file does: fetch it again")
    try:
        reader = GGUFReader(path)
    except (ValueError, KeyError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise BrokenCheckpoint(
            f"{path} cannot be parsed as GGUF, or is cut short ({size} bytes): {error}; fetch it again"
        ) from error
    if reader.byte_order == "S":
        raise UnsupportedModel(
            f"{path} is of a machine with the other order of bytes: take one that is little-endian"
        )
    tensors = {tensor.name: _tensor(path, tensor) for tensor in reader.tensors}
    found = GgufFile(path, reader.fields, tensors)
    parts = found.value("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise BrokenCheckpoint(f"{path} is one of {parts} parts: join them with llama-gguf-split --merge")
    return found


def _tensor(path: Path, tensor: Any) -> GgufTensor:  # noqa: ANN401 - the library's
    """The place of a tensor, once it is known that its form is read."""
    from gguf.quants import dequantize

    shape = tuple(int(side) for side in reversed(tensor.shape))
    row_bytes = int(tensor.n_bytes) // (shape[0] if len(shape) > 1 else 1)
    try:
        dequantize(np.zeros((1, row_bytes), np.uint8), tensor.tensor_type)
    except NotImplementedError as error:
        raise UnsupportedModel(
            f"{path}: tensor {tensor.name} is {tensor.tensor_type.name}, which the package gguf does not turn into "
            "numbers: take a file in another form, such as Q8_0"
        ) from error
    return GgufTensor(path, tensor.tensor_type.name, shape, int(tensor.data_offset), row_bytes)
