"""The plan of ``weights.bin``: which tensors it holds, where, and from what they are made.

Emitting a graph fills the plan (each block asks for the tensors it uses); nothing is read or written here. So
a build knows every size, and finds every disagreement with the checkpoint, before it writes a byte; and a
second graph over the same file just asks for the same tensors again. Written by
:mod:`predictor.builder.weights.writer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.weights.block_quantize import QuantFormat

ALIGNMENT = 4096
"""Offsets in the file are multiples of this, so that any tensor can be memory-mapped by itself."""


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
        """The same bytes under another name and shape: a tensor that two operators want in two forms is kept once."""
        view = WeightTensor(name, self.dtype, shape, self.offset)
        if view.nbytes != self.nbytes:
            raise ValueError(f"{self.name}: {self.shape} cannot be viewed as {shape}")
        return view


@dataclass(frozen=True, slots=True)
class WeightEntry:
    """What is written, and on a resumed build kept, as one: a tensor, or codes and scales of a quantized matrix."""

    tensors: tuple[WeightTensor, ...]
    sources: tuple[str, ...] = ()
    """Checkpoint tensors, one after the other along the first axis."""
    quantized: QuantFormat | None = None
    table: npt.NDArray[np.float32] | None = None
    """Computed content, instead of sources."""

    @property
    def name(self) -> str:
        """Name of its first tensor."""
        return self.tensors[0].name

    @property
    def end(self) -> int:
        """First byte after it, without padding."""
        return self.tensors[-1].offset + self.tensors[-1].nbytes


class WeightFileLayout:
    """Tensors asked for so far; asking twice for a name gives the same tensor."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._pieces: dict[str, WeightEntry] = {}
        self._end = 0

    @property
    def entries(self) -> tuple[WeightEntry, ...]:
        """In the order of the file."""
        return tuple(self._pieces.values())

    @property
    def total_bytes(self) -> int:
        """Size of the file."""
        return self._end

    def dense(
        self, name: str, sources: Sequence[str], shapes: Sequence[tuple[int, ...]], dtype: str = "float32"
    ) -> WeightTensor:
        """Tensor of ``dtype``, float32 or float16: ``sources`` of ``shapes``, concatenated along the first axis.

        Raises:
            BrokenCheckpoint, UnsupportedModel: a source is missing or has another shape or an unsupported dtype.
        """
        if name not in self._pieces:
            shape = self._joined(sources, shapes)
            self._add(WeightEntry(self._place((name, dtype, shape)), tuple(sources)))
        return self._pieces[name].tensors[0]

    def quantized(
        self, name: str, sources: Sequence[str], shapes: Sequence[tuple[int, ...]], form: QuantFormat
    ) -> tuple[WeightTensor, WeightTensor]:
        """Codes uint8 [N, blocks, block_bytes] and scales float32 [N, blocks] of a matrix [N, K].

        Raises:
            BrokenCheckpoint, UnsupportedModel: as in :meth:`dense`.
        """
        if name not in self._pieces:
            rows, width = self._joined(sources, shapes)
            blocks = form.blocks(width)
            tensors = self._place(
                (name, "uint8", (rows, blocks, form.block_bytes)),
                (f"{name}.scales", "float32", (rows, blocks)),
            )
            self._add(WeightEntry(tensors, tuple(sources), form))
        codes, scales = self._pieces[name].tensors
        return codes, scales

    def table(self, name: str, values: npt.NDArray[np.float32]) -> WeightTensor:
        """float32 tensor with content computed by the builder."""
        if name not in self._pieces:
            self._add(WeightEntry(self._place((name, "float32", values.shape)), table=values))
        return self._pieces[name].tensors[0]

    def used_sources(self) -> frozenset[str]:
        """Checkpoint tensors that some entry is made of."""
        return frozenset(source for entry in self._pieces.values() for source in entry.sources)

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
        self._pieces[entry.name] = entry
        self._end = entry.end


def aligned(offset: int) -> int:
    """The first multiple of the alignment that is not below ``offset``."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
