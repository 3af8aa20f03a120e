"""Matrices in 8-bit floats, with scales by tensor, by row, by group or by square: ``value * scale``.

The form of vLLM and compressed-tensors (``weight_scale``: of the whole matrix, of each row, or of groups of a row's
neighbors, ``compressed_tensors.quantization.lifecycle.forward.dequantize``), of FBGEMM (of each row), and of
DeepSeek-V3 (``weight_scale_inv``: of squares of 128 x 128; it is multiplied with, in spite of its name:
``weight_dequant_kernel`` in inference/kernel.py of deepseek-ai/DeepSeek-V3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from predictor.builder.checkpoint.packed import Float32Array
from predictor.builder.checkpoint.stored_tensors import CheckpointTensor, read_numbers
from predictor.builder.errors import BrokenCheckpoint

SCALES = ("weight_scale_inv", "weight_scale")
"""Names of the scales, behind the name of the module."""


@dataclass(frozen=True, slots=True)
class Float8Matrix:
    """A matrix in 8-bit floats. No operator multiplies with these, so there are no codes to keep."""

    name: str
    values: CheckpointTensor
    scale_name: str
    scales: CheckpointTensor
    block: tuple[int, int]
    """Rows and columns that share a scale."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix."""
        return self.values.shape

    @property
    def label(self) -> str:
        """The form, for messages."""
        height, width = self.block
        if self.block == self.shape:
            return "8-bit floats with one scale"
        if self.block == (1, self.shape[1]):
            return "8-bit floats with a scale per row"
        return f"8-bit floats in blocks of {height} x {width}"

    def rows(self, first: int, count: int) -> Float32Array:
        """The rows ``[first, first + count)``, float32."""
        values = read_numbers(self.name, self.values, slice(first, first + count))
        scales = self._scales(first, count)
        width = self.shape[1]
        if scales.shape[1] > 1:
            scales = np.repeat(scales, self.block[1], axis=1)[:, :width]
        product: Float32Array = values * scales
        return product

    def _scales(self, first: int, count: int) -> Float32Array:
        """[count, blocks of a row]"""
        height = self.block[0]
        if height >= self.shape[0]:
            whole = read_numbers(self.scale_name, self.scales)
            return whole.reshape(1, -1)
        start, end = first // height, -(-(first + count) // height)
        found = read_numbers(self.scale_name, self.scales, slice(start, end)).reshape(end - start, -1)
        repeated: Float32Array = np.repeat(found, height, axis=0)[first - start * height :][:count]
        return repeated


def float8_matrix(
    module: str,
    tensors: Mapping[str, CheckpointTensor],
    blocks: Sequence[tuple[int, int]],
) -> Float8Matrix | None:
    """The matrix of a module that holds 8-bit floats; None if it holds none.

    Args:
        module: name of it.
        tensors: of the checkpoint.
        blocks: rows and columns of the squares that the configuration names.

    Raises:
        BrokenCheckpoint: scales are missing, or do not fit the matrix.
    """
    name = f"{module}.weight"
    values = tensors[name]
    if values.dtype not in ("F8_E4M3", "F8_E5M2") or len(values.shape) != 2:
        return None
    scale_name = next((f"{module}.{each}" for each in SCALES if f"{module}.{each}" in tensors), None)
    if scale_name is None:
        raise BrokenCheckpoint(
            f"{values.path.name}: tensor {name} is in 8-bit floats, but has no scale "
            f"({module}.weight_scale or .weight_scale_inv): fetch the checkpoint again"
        )
    scales = tensors[scale_name]
    block = _block(values.shape, scales.shape, blocks)
    if block is None:
        known = ", ".join(f"{rows} x {columns}" for rows, columns in blocks) or "none"
        raise BrokenCheckpoint(
            f"{scales.path.name}: tensor {scale_name} has shape {list(scales.shape)}, which fits no scales of {name} "
            f"{list(values.shape)}: neither one, nor one per row, nor blocks as the configuration says ({known})"
        )
    return Float8Matrix(name, values, scale_name, scales, block)


def _block(
    shape: tuple[int, ...], scales: tuple[int, ...], blocks: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    rows, columns = shape
    if np.prod(scales, dtype=np.int64) == 1:
        return rows, columns
    if scales in ((rows,), (rows, 1)):
        return 1, columns
    return next(
        ((height, width) for height, width in blocks if scales == (-(-rows // height), -(-columns // width))),
        None,
    )
