"""What a matrix is that a checkpoint stores in another form than its numbers: quantized, packed, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

KEPT_BLOCKS = (16, 32, 64, 128, 256)
"""Sizes of blocks that ONNX Runtime's ``MatMulNBits`` multiplies with."""


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """A form of codes that is kept as it is: ``(code - zero point) * scale``, by blocks of a row."""

    bits: int
    """4 or 8."""
    block: int
    """Neighbors that share a scale and a zero point, one of :data:`KEPT_BLOCKS`."""
    zero_points: bool
    """Whether zero points differ from 2 ** (bits - 1)."""


@dataclass(frozen=True, slots=True)
class BlockCodes:
    """Rows of a matrix in a :class:`BlockLayout`."""

    codes: Codes
    """[rows, blocks * block], one code a byte; behind the last column zeros."""
    scales: Float32Array
    """[rows, blocks]"""
    zero_points: Codes
    """[rows, blocks]"""


class PackedMatrix(Protocol):
    """A matrix whose numbers are computed when it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers."""

    @property
    def label(self) -> str:
        """The form, for messages, such as ``4 bits in groups of 128``."""

    def rows(self, first: int, count: int) -> Float32Array:
        """The numbers of the rows ``[first, first + count)``."""


@runtime_checkable
class CodedMatrix(PackedMatrix, Protocol):
    """A packed matrix that may have codes to keep."""

    def layout(self) -> BlockLayout | None:
        """The layout in which its codes can be kept exactly; None if there is none."""

    def blocks(self, first: int, count: int) -> BlockCodes:
        """The same rows in :meth:`layout`."""


def kept_block(group: int, columns: int) -> int | None:
    """The size of the blocks that groups of a row's neighbors are kept in, if there is one.

    Args:
        group: neighbors that share a scale; larger groups are divided, since their blocks may share one.
        columns: of the matrix.
    """
    if group in KEPT_BLOCKS and group <= columns:
        return group
    one_group = group >= columns
    sizes = [size for size in KEPT_BLOCKS if size <= 128 and (columns if one_group else group) % size == 0]
    return max(sizes, default=128 if one_group else None)
