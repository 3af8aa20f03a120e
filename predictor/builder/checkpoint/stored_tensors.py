"""Safetensors files: their headers, and parts of their tensors.

Each part opens its file anew and is copied: a memory map that stayed open would keep the whole file in the process's
resident memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from predictor.builder.checkpoint.directory import check_no_pointer
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

DTYPES = ("F32", "F16", "BF16")
"""Of tensors that are numbers as they stand."""
FLOAT8 = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}
"""Types of one byte, which numpy does not have; the first two are numbers that need a scale, the last one is one."""

Array = npt.NDArray[Any]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """Where a tensor is stored."""

    path: Path
    dtype: str
    """safetensors' name. Others than :data:`DTYPES` are refused when the tensor is asked for."""
    shape: tuple[int, ...]
    offset: int = 0
    """Byte of the file; only of types in :data:`FLOAT8`."""


def read_header(path: Path) -> dict[str, CheckpointTensor]:
    """The tensors of a file, by name, checked against its size.

    Raises:
        BrokenCheckpoint: it is no safetensors file, or is cut short.
    """
    check_no_pointer(path)
    size = path.stat().st_size
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            found = {
                name: CheckpointTensor(path, str(entry.get_dtype()), tuple(entry.get_shape()))
                for name, entry in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpoint(_header_fault(path, size, str(error))) from error
    if any(entry.dtype in FLOAT8 for entry in found.values()):
        start, header = _raw_header(path)
        for name, entry in found.items():
            offset = start + int(header[name]["data_offsets"][0])
            found[name] = CheckpointTensor(path, entry.dtype, entry.shape, offset)
    return found


def read_part(
    name: str, entry: CheckpointTensor, rows: slice = slice(None), columns: slice | None = None
) -> Array:
    """A part of a tensor, in numpy's type for what is stored.

    Args:
        name: of the tensor.
        entry: its place.
        rows: of the first axis.
        columns: of the second axis; None: all of what is behind the first one.

    8-bit floats have :func:`read_numbers` alone.

    Raises:
        BrokenCheckpoint: the file was cut short since it was opened, or cannot be read.
    """
    try:
        with safe_open(entry.path, framework="numpy") as file:
            if not entry.shape:
                scalar: Array = file.get_tensor(name)
                return scalar
            stored = file.get_slice(name)
            part: Array = stored[rows] if columns is None else stored[rows, columns]
            return part
    except (OSError, SafetensorError) as error:
        raise _unreadable(entry, str(error)) from error


def read_numbers(name: str, entry: CheckpointTensor, rows: slice = slice(None)) -> Float32Array:
    """Rows of a tensor as float32; scalars and vectors are read as they are.

    Raises:
        BrokenCheckpoint: as :func:`read_part`.
        UnsupportedModel: its type is none of numbers.
    """
    if entry.dtype in FLOAT8:
        values: Float32Array = float8_table(entry.dtype)[
            _read_bytes(entry, rows).reshape(-1, *entry.shape[1:])
        ]
        return values
    if entry.dtype not in DTYPES:
        raise UnsupportedModel(
            f"{entry.path}: tensor {name} has dtype {entry.dtype}; supported: F32, F16, BF16"
        )
    stored: Float32Array = read_part(name, entry, rows).astype(np.float32, copy=False)
    return stored


def float8_table(dtype: str) -> Float32Array:
    """The number of each of the 256 codes of a type in :data:`FLOAT8`, float32 [256]."""
    values: Float32Array = np.arange(256, dtype=np.uint8).view(FLOAT8[dtype]).astype(np.float32)
    return values


def _read_bytes(entry: CheckpointTensor, rows: slice) -> npt.NDArray[np.uint8]:
    """Rows of a tensor of one byte a value: uint8 [rows, the rest]."""
    count, width = (entry.shape[0] if entry.shape else 1), int(np.prod(entry.shape[1:], dtype=np.int64))
    first, last, _ = rows.indices(count)
    wanted = (last - first) * width
    try:
        values = np.fromfile(entry.path, np.uint8, wanted, offset=entry.offset + first * width)
    except OSError as error:
        raise _unreadable(entry, str(error)) from error
    if values.size != wanted:
        raise _unreadable(entry, f"{wanted - values.size} bytes are missing")
    return values.reshape(last - first, width)


def _unreadable(entry: CheckpointTensor, reason: str) -> BrokenCheckpoint:
    return BrokenCheckpoint(
        f"{entry.path} cannot be read: it ends too early, or was replaced ({reason}); fetch it again"
    )


def _raw_header(path: Path) -> tuple[int, dict[str, Any]]:
    """The byte at which the tensors begin, and the header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return 8 + length, header


def _header_fault(path: Path, size: int, reason: str) -> str:
    """The message for a file that safetensors refuses with ``reason``."""
    if any(text in reason for text in ("header too", "invalid header length")):
        return f"{path} is no safetensors file, or is cut short ({size} bytes): fetch it again"
    if "not fully covered" in reason:
        start, header = _raw_header(path)  # the library's error does not tell the size
        expected = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        return f"{path} has {size} bytes, but its header calls for {expected}: fetch it again"
    return f"{path} has an unreadable safetensors header: {reason}; fetch it again"
