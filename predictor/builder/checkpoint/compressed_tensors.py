"""Matrices in the forms of the library compressed-tensors that hold integers.

``int-quantized``, ``naive-quantized``: ``weight`` int8 [N, K]. ``pack-quantized``
(compressed_tensors/compressors/pack_quantized/helpers.py): ``weight_packed`` int32 [N, K * bits / 32], the codes of a
row with 2 ** (bits - 1) added, lowest bits first; ``weight_shape`` [2]. Both: ``weight_scale`` [N, groups], of one
group where it is one per row, or of one value; ``weight_zero_point`` likewise, in the second form packed along rows.
W = (code - zero point) * scale. 8-bit floats are in :mod:`predictor.builder.checkpoint.float8`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.integer_matrix import (
    BITS,
    IntegerMatrix,
    columns_of_words,
    group_order,
    unpacked,
)
from predictor.builder.checkpoint.packed import Codes, Float32Array
from predictor.builder.checkpoint.quantization_config import ORIGINAL, QuantizationConfig
from predictor.builder.checkpoint.stored_tensors import CheckpointTensor, read_numbers, read_part
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

FORMATS = (
    "dense",
    "float-quantized",
    "int-quantized",
    "naive-quantized",
    "pack-quantized",
    "mixed-precision",
)
_NEUTRAL: tuple[object, ...] = (None, {}, [], "dense")


def check_compressed_tensors(config: QuantizationConfig) -> None:
    """Refuse forms, sparsity and transforms that are not read.

    Raises:
        UnsupportedModel: one is in use.
    """
    config.require("format", *FORMATS)
    for group in _groups(config):
        if group.get("format") is not None and group["format"] not in FORMATS:
            raise UnsupportedModel(
                f"{config.source}: format is {group['format']!r}, which is not read; {ORIGINAL}"
            )
    if config.get("transform_config") not in _NEUTRAL:
        raise config.unsupported("transform_config")
    sparsity = config.get("sparsity_config", default={})
    if isinstance(sparsity, dict) and sparsity.get("format") not in _NEUTRAL:
        raise config.unsupported("sparsity_config")


def block_structures(config: QuantizationConfig) -> list[tuple[int, int]]:
    """Rows and columns of the squares that share a scale, as far as the configuration names any."""
    named = [weights.get("block_structure") for weights in _weights(config)]
    return [block for block in map(square, named) if block is not None]


def square(value: object) -> tuple[int, int] | None:
    """A list of two positive numbers; None for anything else."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(each, int) for each in value):
        return None
    return (value[0], value[1]) if min(value) > 0 else None


def group_sizes(config: QuantizationConfig) -> list[int]:
    """Sizes of the groups of a row's neighbors that share a scale, as far as the configuration names any."""
    sizes = [weights.get("group_size") for weights in _weights(config)]
    return [size for size in sizes if isinstance(size, int) and size > 0]


def int8_matrix(
    module: str, tensors: Mapping[str, CheckpointTensor], config: QuantizationConfig
) -> IntegerMatrix | None:
    """The matrix of a module with one code a byte; None if it holds no integers.

    Args:
        module: name of it.
        tensors: of the checkpoint.
        config: its quantization.

    Raises:
        BrokenCheckpoint: a part is missing, or the parts do not fit each other.
    """
    name = f"{module}.weight"
    values = tensors[name]
    if values.dtype != "I8" or len(values.shape) != 2:
        return None
    rows, columns = values.shape
    zero = f"{module}.weight_zero_point"
    return IntegerMatrix(
        shape=(rows, columns),
        bits=8,
        group=_group(module, tensors, (rows, columns), config),
        codes=partial(_int8_codes, name, values),
        scales=partial(_scales, f"{module}.weight_scale", tensors[f"{module}.weight_scale"], rows),
        zero_points=partial(_int8_zero_points, zero, tensors[zero], rows) if zero in tensors else None,
    )


def packed_matrix(
    module: str, tensors: Mapping[str, CheckpointTensor], config: QuantizationConfig
) -> IntegerMatrix:
    """The matrix of a module whose codes are packed into words.

    Args:
        module: name of it.
        tensors: of the checkpoint.
        config: its quantization.

    Raises:
        BrokenCheckpoint: a part is missing, or the parts do not fit each other.
        UnsupportedModel: it has codes of another size than 2, 4 or 8 bits.
    """
    packed, shape_name = tensors[f"{module}.weight_packed"], f"{module}.weight_shape"
    if packed.dtype != "I32" or shape_name not in tensors:
        raise BrokenCheckpoint(
            f"{packed.path.name}: {module}.weight_packed must be int32 beside {module}.weight_shape: fetch the "
            "checkpoint again"
        )
    sides = [int(side) for side in read_part(shape_name, tensors[shape_name]).reshape(-1)]
    if len(sides) != 2:
        raise BrokenCheckpoint(f"{packed.path.name}: tensor {shape_name} must hold two numbers, not {sides}")
    rows, columns = sides
    bits = next((size for size in BITS if packed.shape == (rows, -(-columns * size // 32))), None)
    if bits is None:
        raise UnsupportedModel(
            f"{packed.path.name}: {module}.weight_packed has shape {list(packed.shape)} for a matrix "
            f"[{rows}, {columns}]; read are 2, 4 and 8 bits; {ORIGINAL}"
        )
    zero = f"{module}.weight_zero_point"
    group = _group(module, tensors, (rows, columns), config)
    return IntegerMatrix(
        shape=(rows, columns),
        bits=bits,
        group=group,
        codes=partial(_packed_codes, f"{module}.weight_packed", packed, bits, columns),
        scales=partial(_scales, f"{module}.weight_scale", tensors[f"{module}.weight_scale"], rows),
        zero_points=partial(_packed_zero_points, zero, tensors[zero], bits) if zero in tensors else None,
        group_of=_order(module, tensors, columns, group),
    )


def _groups(config: QuantizationConfig) -> list[dict[str, Any]]:
    groups = config.get("config_groups", default={})
    found = groups.values() if isinstance(groups, dict) else ()
    return [group for group in found if isinstance(group, dict)]


def _weights(config: QuantizationConfig) -> list[dict[str, Any]]:
    found = (group.get("weights") for group in _groups(config))
    return [weights for weights in found if isinstance(weights, dict)]


def _group(
    module: str,
    tensors: Mapping[str, CheckpointTensor],
    shape: tuple[int, int],
    config: QuantizationConfig,
) -> int:
    name = f"{module}.weight_scale"
    if name not in tensors:
        raise BrokenCheckpoint(f"tensor {name} is missing beside {module}: fetch the checkpoint again")
    (rows, columns), scales = shape, tensors[name].shape
    if scales in ((), (1,), (1, 1), (rows,), (rows, 1)):
        return columns
    fitting = (size for size in group_sizes(config) if scales == (rows, -(-columns // size)))
    group = next(fitting, None)
    if group is None:
        raise BrokenCheckpoint(
            f"{tensors[name].path.name}: tensor {name} has shape {list(scales)}, which fits no group_size of "
            f"{config.source} ({group_sizes(config) or 'none'}) for a matrix [{rows}, {columns}]"
        )
    return group


def _order(
    module: str, tensors: Mapping[str, CheckpointTensor], columns: int, group: int
) -> npt.NDArray[np.int64] | None:
    """The group of each column, unless they are in order; -1 everywhere says that they are."""
    name = f"{module}.weight_g_idx"
    if name not in tensors:
        return None
    order = read_part(name, tensors[name]).astype(np.int64)
    return None if (order == -1).all() else group_order(name, order, columns, group)


def _scales(name: str, entry: CheckpointTensor, rows: int, first: int, count: int) -> Float32Array:
    if len(entry.shape) == 0 or entry.shape[0] != rows:
        return np.broadcast_to(read_numbers(name, entry).reshape(1, 1), (count, 1))
    return read_numbers(name, entry, slice(first, first + count)).reshape(count, -1)


def _int8_codes(name: str, entry: CheckpointTensor, first: int, count: int) -> Codes:
    values = read_part(name, entry, slice(first, first + count))
    codes: Codes = np.ascontiguousarray(values).view(np.uint8) ^ np.uint8(128)
    return codes


def _int8_zero_points(name: str, entry: CheckpointTensor, rows: int, first: int, count: int) -> Codes:
    single = len(entry.shape) == 0 or entry.shape[0] != rows
    values = read_part(name, entry, slice(None) if single else slice(first, first + count))
    codes = np.ascontiguousarray(values).reshape(1 if single else count, -1).astype(np.int8).view(np.uint8)
    return np.broadcast_to(codes ^ np.uint8(128), (count, codes.shape[1]))


def _packed_codes(
    name: str, entry: CheckpointTensor, bits: int, columns: int, first: int, count: int
) -> Codes:
    return unpacked(read_part(name, entry, slice(first, first + count)), bits)[:, :columns]


def _packed_zero_points(name: str, entry: CheckpointTensor, bits: int, first: int, count: int) -> Codes:
    words, codes = columns_of_words(first, count, bits)
    return np.ascontiguousarray(unpacked(read_part(name, entry, words).T, bits)[:, codes].T)
