"""Weight-only quantization, in the layout of com.microsoft ``MatMulNBits`` and ``GatherBlockQuantized``.

A row is divided into blocks of ``block`` neighbouring values. A block has one float32 scale and unsigned codes of
``bits`` bits: ``value = (code - zero point) * scale``, where the zero point is 2 ** (bits - 1) unless blocks have
their own. The last block of a row is padded with zeros. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

_SMALLEST_SCALE = np.float32(1e-37)
"""A block with a smaller scale is stored as zeros: the inverse of the scale would overflow."""


@dataclass(frozen=True, slots=True)
class QuantFormat:
    """Parameters of the block quantization of a matrix."""

    bits: int
    """8 or 4."""
    block: int
    """Neighbours that share a scale: 16, 32, 64, 128 or 256."""
    zero_points: bool = False
    """Whether each block has its own zero point, as some that checkpoints bring; ours have not."""

    @property
    def zero_point(self) -> int:
        """The code of 0.0."""
        return 1 << (self.bits - 1)

    @property
    def block_bytes(self) -> int:
        """Size of the codes of one block."""
        return self.block * self.bits // 8

    def zero_point_bytes(self, blocks: int) -> int:
        """Size of the zero points of a row of ``blocks``."""
        return -(-blocks * self.bits // 8)

    def blocks(self, values: int) -> int:
        """Blocks in a row of ``values``."""
        return -(-values // self.block)


def quantize_rows(rows: Float32Array, form: QuantFormat) -> tuple[Codes, Float32Array]:
    """Quantize float32 [N, K].

    Returns:
        Codes, uint8 [N, blocks, block_bytes] (with 4 bits, the value at the even index is in the low half), and
        scales, float32 [N, blocks].
    """
    count, width = rows.shape
    blocks = form.blocks(width)
    if blocks * form.block != width:
        rows = np.pad(rows, ((0, 0), (0, blocks * form.block - width)))
    values = rows.reshape(count, blocks, form.block)
    scales = block_scales(values, form)
    return packed_codes(rounded_codes(values, scales[..., None], form), form), scales


def rounded_codes(values: Float32Array, scales: Float32Array, form: QuantFormat) -> Codes:
    """The codes nearest to values with given scales, unpacked: uint8, of the shape of ``values``.

    Args:
        values: float32.
        scales: float32, of a shape that broadcasts to that of ``values``; with scale 0 a value becomes 0.
        form: of the quantization.
    """
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    steps = np.rint(values * inverse) + np.float32(form.zero_point)
    codes: Codes = np.clip(steps, 0, 2**form.bits - 1).astype(np.uint8)
    return codes


def packed_codes(codes: Codes, form: QuantFormat) -> Codes:
    """Codes as they are stored: with 4 bits two a byte, the first one in the low half; beside an odd last one is 0.

    Args:
        codes: uint8 [..., K].
        form: of the quantization.
    """
    if form.bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, 1)])
    packed: Codes = codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4))
    return packed


def dequantize_rows(codes: Codes, scales: Float32Array, form: QuantFormat, width: int) -> Float32Array:
    """The inverse of :func:`quantize_rows`.

    Args:
        codes: uint8 [N, blocks, block_bytes].
        scales: float32 [N, blocks].
        form: of the quantization.
        width: K, without padding.

    Returns:
        float32 [N, K].
    """
    if form.bits == 4:
        codes = np.stack((codes & np.uint8(15), codes >> np.uint8(4)), axis=-1).reshape(*codes.shape[:2], -1)
    values = (codes.astype(np.float32) - np.float32(form.zero_point)) * scales[..., None]
    rows: Float32Array = values.reshape(codes.shape[0], -1)[:, :width]
    return rows


def block_scales(values: Float32Array, form: QuantFormat) -> Float32Array:
    """One scale per block of values [..., block], which maps the largest magnitude to the outermost code.

    With 4 bits the codes -8..7 are asymmetric: the scale's sign is chosen so that the largest magnitude gets -8.
    """
    low, high = values.min(axis=-1), values.max(axis=-1)
    if form.bits == 8:
        scales = np.maximum(-low, high) / np.float32(127)
    else:
        scales = np.where(-low > high, low, high) / np.float32(-form.zero_point)
    kept: Float32Array = np.where(np.abs(scales) < _SMALLEST_SCALE, np.float32(0), scales)
    return kept
