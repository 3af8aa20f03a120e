"""Matrices in unsigned integers of 2, 4 or 8 bits: ``(code - zero point) * scale``, by groups of a row's columns.

What GPTQ, AWQ and compressed-tensors have in common; how each stores codes, scales and zero points is in its module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.packed import BlockCodes, BlockLayout, Codes, Float32Array, kept_block
from predictor.builder.checkpoint.stored_tensors import DTYPES, CheckpointTensor
from predictor.builder.errors import BrokenCheckpoint

BITS = (2, 4, 8)
"""Sizes of codes of which whole ones fill a word of 32 bits."""


@dataclass(frozen=True, slots=True)
class IntegerMatrix:
    """A matrix in integers; its parts are read by functions of the first row and the number of rows."""

    shape: tuple[int, int]
    bits: int
    group: int
    """Columns with one scale and one zero point."""
    codes: Callable[[int, int], Codes]
    """uint8 [rows, columns]"""
    scales: Callable[[int, int], Float32Array]
    """float32 [rows, groups]"""
    zero_points: Callable[[int, int], Codes] | None = None
    """uint8 [rows, groups]; None: 2 ** (bits - 1)."""
    group_of: npt.NDArray[np.int64] | None = None
    """Group of each column; None: in order."""

    @property
    def label(self) -> str:
        """The form, for messages."""
        grouped = "a scale per row" if self.group >= self.shape[1] else f"groups of {self.group}"
        return f"{self.bits} bits, {grouped}{'' if self.group_of is None else ' in another order'}"

    def rows(self, first: int, count: int) -> Float32Array:
        """The rows ``[first, first + count)``, float32."""
        values = self.codes(first, count).astype(np.float32)
        values -= self._by_column(self._zero_points(first, count).astype(np.float32))
        values *= self._by_column(self.scales(first, count))
        return values

    def layout(self) -> BlockLayout | None:
        """The layout in which its codes can be kept; None for other orders, groups and sizes of codes."""
        block = kept_block(self.group, self.shape[1])
        if block is None or self.bits not in (4, 8) or self.group_of is not None:
            return None
        middle = 1 << (self.bits - 1)
        uneven = self.zero_points is not None and bool((self.zero_points(0, self.shape[0]) != middle).any())
        return BlockLayout(self.bits, block, uneven)

    def blocks(self, first: int, count: int) -> BlockCodes:
        """The rows ``[first, first + count)`` in :meth:`layout`."""
        columns = self.shape[1]
        block = kept_block(self.group, columns)
        assert block is not None, "a matrix without a layout"
        number = -(-columns // block)
        codes = np.pad(self.codes(first, count), ((0, 0), (0, number * block - columns)))
        repeats = number if self.group >= columns else self.group // block
        scales = np.repeat(self.scales(first, count), repeats, axis=1)[:, :number]
        zero_points = np.repeat(self._zero_points(first, count), repeats, axis=1)[:, :number]
        return BlockCodes(codes, scales, zero_points)

    def _zero_points(self, first: int, count: int) -> Codes:
        if self.zero_points is not None:
            return self.zero_points(first, count)
        return np.full((count, -(-self.shape[1] // self.group)), 1 << (self.bits - 1), np.uint8)

    def _by_column(self, values: Float32Array) -> Float32Array:
        """[rows, groups] -> what broadcasts to [rows, columns]."""
        if self.group_of is not None:
            ordered: Float32Array = values[:, self.group_of]
            return ordered
        if values.shape[1] == 1:
            return values
        repeated: Float32Array = np.repeat(values, self.group, axis=1)[:, : self.shape[1]]
        return repeated


def integer_part(module: str, part: str, tensors: Mapping[str, CheckpointTensor]) -> CheckpointTensor:
    """A tensor of a matrix: ``scales`` in floats, others in words of 32 bits.

    Args:
        module: name of the module.
        part: name of the tensor behind it.
        tensors: of the checkpoint.

    Raises:
        BrokenCheckpoint: it is missing, or no matrix of that type.
    """
    name = f"{module}.{part}"
    entry = tensors.get(name)
    if entry is None:
        raise BrokenCheckpoint(f"tensor {name} is missing, but others of {module} are there: fetch it again")
    wanted = DTYPES if part == "scales" else ("I32",)
    if entry.dtype not in wanted or len(entry.shape) != 2:
        raise BrokenCheckpoint(
            f"{entry.path.name}: tensor {name} is {entry.dtype} {list(entry.shape)}; it must be a matrix of "
            f"{' or '.join(wanted)}"
        )
    return entry


def group_order(
    name: str, order: npt.NDArray[np.int64], columns: int, group: int
) -> npt.NDArray[np.int64] | None:
    """The group of each column, unless they are in order.

    Args:
        name: of the tensor that says so, for messages.
        order: what it says.
        columns: of the matrix.
        group: columns of a group.

    Raises:
        BrokenCheckpoint: it is not as long as a row, or names groups that are not there.
    """
    groups = -(-columns // group)
    if order.shape != (columns,) or order.min() < 0 or order.max() >= groups:
        raise BrokenCheckpoint(
            f"{name} has shape {list(order.shape)} and names group {order.max(initial=-1)}, for {columns} columns in "
            f"{groups} groups: fetch the checkpoint again"
        )
    return None if (order == np.arange(columns) // group).all() else order


def unpacked(words: npt.NDArray[np.int32], bits: int) -> Codes:
    """The codes in words of 32 bits, lowest bits first: int32 [rows, words] -> uint8 [rows, words * 32 / bits]."""
    octets = np.ascontiguousarray(words, "<i4").view(np.uint8)
    if bits == 8:
        return octets
    mask = np.uint8((1 << bits) - 1)
    parts = [(octets >> np.uint8(shift)) & mask for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(octets), -1)


def columns_of_words(first: int, count: int, bits: int) -> tuple[slice, slice]:
    """The words of a packed row that hold some codes, and these codes among those of the words.

    Args:
        first: of the codes.
        count: of codes.
        bits: of a code.
    """
    per_word = 32 // bits
    start, end = first // per_word, -(-(first + count) // per_word)
    skipped = first - start * per_word
    return slice(start, end), slice(skipped, skipped + count)
