"""The layout of ``weights.bin``: which tensors it holds, at which offsets, and their sources in the checkpoint.

Emitting a graph adds the tensors it uses; nothing is read or written here. So a build knows every size, and finds
every disagreement with the checkpoint, before it writes a byte. A second graph that asks for the same tensors gets
the same places. The file is written by :mod:`predictor.builder.weights.writer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.weights.block_quantize import QuantFormat

Number = TypeVar("Number", bound=np.generic)

ALIGNMENT = 4096
"""Offsets in the file are multiples of this, so that each tensor can be memory-mapped on its own."""


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """One tensor of ``weights.bin``."""

    name: str
    dtype: str
    """numpy's name: float32, float16 or uint8."""
    shape: tuple[int, ...]
    offset: int
    """Byte of the file."""

    @property
    def nbytes(self) -> int:
        """Bytes without padding."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def viewed(self, name: str, shape: tuple[int, ...]) -> WeightTensor:
        """The same bytes under another name and shape, for an operator that wants another shape.

        Raises:
            ValueError: the sizes differ.
        """
        view = WeightTensor(name, self.dtype, shape, self.offset)
        if view.nbytes != self.nbytes:
            raise ValueError(f"{self.name}: {self.shape} cannot be viewed as {shape}")
        return view


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is folded into a checkpoint tensor: (values + offset) * scale, in float32, and the order of its rows."""

    scale: float = 1.0
    offset: float = 0.0
    interleaved: int = 0
    """Rows of a head whose even and odd rows are pairs of the rotary embedding: even ones first; 0: no change."""
    head: int = 0
    """Rows of a head of which the last ones are interleaved; 0: all of them are."""

    @property
    def unit(self) -> int:
        """Rows that belong together."""
        return self.head or self.interleaved or 1

    def reordered(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Rows in the order of the file; whole heads, if they are interleaved."""
        if not self.interleaved:
            return values
        heads = values.reshape(-1, self.unit, *values.shape[1:])
        pairs = heads[:, -self.interleaved :].reshape(-1, self.interleaved // 2, 2, *values.shape[1:])
        ordered = pairs.swapaxes(1, 2).reshape(-1, self.interleaved, *values.shape[1:])
        kept = heads[:, : -self.interleaved]
        return np.concatenate((kept, ordered), axis=1).reshape(values.shape)

    def applied(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Adjusted rows; whole heads, if they are interleaved."""
        values = self.reordered(values)
        if self.scale == 1.0 and self.offset == 0.0:
            return values
        adjusted: npt.NDArray[np.float32] = (values + np.float32(self.offset)) * np.float32(self.scale)
        return adjusted


UNCHANGED = Adjustment()


@dataclass(frozen=True, slots=True)
class WeightEntry:
    """The unit of writing and of resuming: one tensor, or codes, scales and zero points of one quantized matrix."""

    tensors: tuple[WeightTensor, ...]
    sources: tuple[str, ...] = ()
    """Checkpoint tensors, concatenated along the first axis."""
    quantized: QuantFormat | None = None
    kept: bool = False
    """Whether its codes are the checkpoint's own."""
    table: npt.NDArray[np.float32] | None = None
    """Computed content, instead of sources."""
    adjustments: tuple[Adjustment, ...] = ()
    """Of each source; empty: none is changed."""
    alternating: bool = False
    """Whether the rows of each two sources alternate, and not follow each other."""

    @property
    def name(self) -> str:
        """Name of its first tensor."""
        return self.tensors[0].name

    @property
    def end(self) -> int:
        """First byte after it, without padding."""
        return self.tensors[-1].offset + self.tensors[-1].nbytes


class WeightFileLayout:
    """The tensors added so far; adding a name twice returns the same tensor."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._entries: dict[str, WeightEntry] = {}
        self._end = 0

    @property
    def entries(self) -> tuple[WeightEntry, ...]:
        """In the order of the file."""
        return tuple(self._entries.values())

    @property
    def total_bytes(self) -> int:
        """Size of the file."""
        return self._end

    def dense(
        self,
        name: str,
        sources: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        dtype: str = "float32",
        adjustments: Sequence[Adjustment] = (),
        *,
        alternating: bool = False,
    ) -> WeightTensor:
        """Add a tensor that is not quantized.

        Args:
            name: in the file.
            sources: names of checkpoint tensors, concatenated along the first axis.
            shapes: the shapes that they must have.
            dtype: float32 or float16.
            adjustments: of each source; empty: none is changed.
            alternating: whether the rows of each two sources, which have one shape, alternate.

        Raises:
            BrokenCheckpoint, UnsupportedModel: a source is missing or has another shape or an unsupported dtype.
        """
        if name not in self._entries:
            shape = self._joined(sources, shapes)
            tensors = self._place((name, dtype, shape))
            changes = tuple(adjustments)
            self._add(WeightEntry(tensors, tuple(sources), adjustments=changes, alternating=alternating))
        return self._entries[name].tensors[0]

    def quantized(
        self,
        name: str,
        sources: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        form: QuantFormat,
        adjustments: Sequence[Adjustment] = (),
        *,
        alternating: bool = False,
    ) -> tuple[WeightTensor, ...]:
        """Add a matrix [N, K] that is quantized in blocks: by us, or by the checkpoint, if its codes have that form.

        Args:
            name: in the file.
            sources: names of checkpoint tensors, concatenated along the first axis.
            shapes: the shapes that they must have.
            form: of the quantization.
            adjustments: of each source; empty: none is changed.
            alternating: whether the rows of each two sources, which have one shape, alternate.

        Returns:
            Codes, uint8 [N, blocks, block_bytes], scales, float32 [N, blocks], and zero points, uint8
            [N, zero_point_bytes], if the checkpoint's blocks have some.

        Raises:
            BrokenCheckpoint, UnsupportedModel: as in :meth:`dense`.
        """
        if name not in self._entries:
            rows, width = self._joined(sources, shapes)
            blocks = form.blocks(width)
            parts = [
                (name, "uint8", (rows, blocks, form.block_bytes)),
                (f"{name}.scales", "float32", (rows, blocks)),
            ]
            if form.zero_points:
                parts.append((f"{name}.zero_points", "uint8", (rows, form.zero_point_bytes(blocks))))
            kept = not alternating and self.kept_form(sources) == form
            tensors, changes = self._place(*parts), tuple(adjustments)
            self._add(
                WeightEntry(tensors, tuple(sources), form, kept, adjustments=changes, alternating=alternating)
            )
        return self._entries[name].tensors

    def kept_form(self, sources: Sequence[str]) -> QuantFormat | None:
        """The form in which the checkpoint's own codes of some matrices can be kept, if there is one."""
        layout = self._checkpoint.layout(sources)
        return None if layout is None else QuantFormat(layout.bits, layout.block, layout.zero_points)

    def table(self, name: str, values: npt.NDArray[np.float32]) -> WeightTensor:
        """Add a float32 tensor whose content the builder computed."""
        if name not in self._entries:
            self._add(WeightEntry(self._place((name, "float32", values.shape)), table=values))
        return self._entries[name].tensors[0]

    def used_sources(self) -> frozenset[str]:
        """Names of the checkpoint tensors that entries are made of."""
        return frozenset(source for entry in self._entries.values() for source in entry.sources)

    def _joined(self, sources: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        for source, shape in zip(sources, shapes, strict=True):
            self._checkpoint.entry(source, shape)
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def _place(self, *tensors: tuple[str, str, tuple[int, ...]]) -> tuple[WeightTensor, ...]:
        placed, end = [], self._end
        for name, dtype, shape in tensors:
            stored = WeightTensor(name, dtype, shape, aligned(end))
            placed.append(stored)
            end = stored.offset + stored.nbytes
        return tuple(placed)

    def _add(self, entry: WeightEntry) -> None:
        self._entries[entry.name] = entry
        self._end = entry.end


def aligned(offset: int) -> int:
    """The first multiple of the alignment that is not below ``offset``."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
