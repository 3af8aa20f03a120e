"""Converts a tensor's values between JSON lists, binary tensor data or gRPC contents, and numpy arrays or ``str``.

The datatypes are those of :mod:`protocol.tensors`: INT32 and FP32 become C-ordered arrays of the tensor's shape,
BYTES a flat ``list[str]`` in row-major order (all our BYTES tensors are text). Decoded values are checked against
datatype and shape.

Errors are :class:`protocol.errors.InvalidRequest`. They name a tensor by its place (``inputs[0]``) or by its name in
our tables, and contain no name or value from the request.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from protocol.codec.sdk import InferInput, InferOutput, pb
from protocol.errors import InvalidRequest

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]] | list[str]"

TEXT_TYPE = "BYTES"
NUMBER_TYPES = {"INT32": np.dtype("<i4"), "FP32": np.dtype("<f4")}
DATATYPES = (TEXT_TYPE, *NUMBER_TYPES)

_CONTENTS = {TEXT_TYPE: "bytes_contents", "INT32": "int_contents", "FP32": "fp32_contents"}
"""Field of gRPC's InferTensorContents for each datatype."""

_MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 2**31 - 1
_FEW_NUMBERS = 16
"""Up to here Python checks numbers faster than NumPy: one in 0.5 us instead of 2.5."""
_LENGTH = struct.Struct("<I")


def check_datatype(where: str, datatype: object) -> str:
    """Return ``datatype`` if this protocol supports it."""
    if datatype not in DATATYPES:
        raise InvalidRequest(f"{where}: datatype must be one of {', '.join(DATATYPES)}")
    return str(datatype)


def check_shape(where: str, shape: Iterable[Any]) -> list[int]:
    """Return ``shape`` as a list of dimensions, each an integer >= 0."""
    if type(shape) is list and len(shape) == 1 and type(shape[0]) is int and 0 <= shape[0] <= _MAX_ELEMENTS:
        return shape  # as nearly all are
    if isinstance(shape, (str, bytes, dict)) or not isinstance(shape, Iterable):
        raise InvalidRequest(f"{where}: shape must be a list of whole numbers, e.g. [2]")
    dims = list(shape)
    if any(type(dim) is not int or dim < 0 for dim in dims):
        raise InvalidRequest(f"{where}: every dimension of shape must be a whole number >= 0")
    if not 1 <= len(dims) <= _MAX_DIMENSIONS:
        raise InvalidRequest(f"{where}: shape must have 1 to {_MAX_DIMENSIONS} dimensions")
    if math.prod(max(1, dim) for dim in dims) > _MAX_ELEMENTS:
        raise InvalidRequest(f"{where}: shape asks for more than {_MAX_ELEMENTS} elements; send fewer")
    return dims


def values_from_json(where: str, datatype: str, shape: list[int], data: object) -> Values:
    """Values of a JSON ``data`` member: a flat row-major list, or lists nested exactly as ``shape`` says.

    Args:
        where: names the tensor in messages.
        datatype: of the v2 protocol; BYTES or a key of ``NUMBER_TYPES``.
        shape: of the tensor.
        data: the member as parsed.

    Raises:
        InvalidRequest: count, nesting or a value does not fit.
    """
    if not isinstance(data, list):
        raise InvalidRequest(f"{where}: data must be a list of {math.prod(shape)} values")
    flat = _flatten(where, data, shape)
    _check_count(where, len(flat), shape)
    if datatype == TEXT_TYPE:
        return _texts(where, flat)
    return _numbers(where, datatype, flat).reshape(shape)


def values_from_binary(where: str, datatype: str, shape: list[int], raw: bytes) -> Values:
    """Values of a raw tensor: little-endian numbers, or texts that each follow their byte length (uint32).

    Args:
        where: names the tensor in messages.
        datatype: of the v2 protocol; BYTES or a key of ``NUMBER_TYPES``.
        shape: of the tensor.
        raw: the tensor's bytes.

    Raises:
        InvalidRequest: the number of bytes or a value does not fit.
    """
    if datatype == TEXT_TYPE:
        texts = _split_texts(where, raw)
        _check_count(where, len(texts), shape)
        return _texts(where, texts)
    dtype = NUMBER_TYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise InvalidRequest(
            f"{where}: {datatype} of shape {shape} takes {expected} bytes, but {len(raw)} were sent"
        )
    return _finite(where, np.frombuffer(raw, dtype=dtype).reshape(shape))


def values_from_contents(
    where: str, datatype: str, shape: list[int], contents: pb.InferTensorContents
) -> Values:
    """Values of gRPC's typed ``contents``.

    Args:
        where: names the tensor in messages.
        datatype: of the v2 protocol; BYTES or a key of ``NUMBER_TYPES``.
        shape: of the tensor.
        contents: of the message.

    Raises:
        InvalidRequest: the values are in another field, or their number or a value does not fit.
    """
    field = _CONTENTS[datatype]
    if any(used.name != field for used, _ in contents.ListFields()):
        raise InvalidRequest(f"{where}: {datatype} goes into contents.{field} and nowhere else")
    flat = getattr(contents, field)
    _check_count(where, len(flat), shape)
    if datatype == TEXT_TYPE:
        return _texts(where, list(flat))
    return _finite(where, np.array(flat, dtype=NUMBER_TYPES[datatype]).reshape(shape))


def tensor_values(where: str, tensor: InferInput | InferOutput) -> Values:
    """Checked values of an SDK tensor, from JSON, raw bytes or typed contents."""
    datatype = check_datatype(where, tensor.datatype)
    shape = check_shape(where, tensor.shape)
    raw, data = tensor._raw_data, tensor.data  # the SDK has no public way to ask for the raw bytes
    if raw is not None:
        return values_from_binary(where, datatype, shape, raw)
    if not isinstance(data, np.ndarray):
        return values_from_json(where, datatype, shape, data)
    if data.dtype == object or datatype == TEXT_TYPE:
        return values_from_json(where, datatype, shape, data.reshape(-1).tolist())
    if data.dtype != NUMBER_TYPES[datatype] or list(data.shape) != shape:
        raise InvalidRequest(
            f"{where}: holds {data.dtype} of shape {list(data.shape)}, not {datatype} {shape}"
        )
    return _finite(where, data)


def binary_from_values(values: Values) -> bytes:
    """Encode ``values`` as raw bytes, for the binary tensor data extension and gRPC's raw contents."""
    if isinstance(values, np.ndarray):
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return b"".join(chain.from_iterable((_LENGTH.pack(len(text)), text) for text in map(_utf8, values)))


def json_from_values(values: Values) -> Values:
    """Flatten ``values`` for :func:`orjson.dumps` with ``OPT_SERIALIZE_NUMPY``."""
    return np.ascontiguousarray(values).reshape(-1) if isinstance(values, np.ndarray) else values


def contents_from_values(datatype: str, values: Values) -> pb.InferTensorContents:
    """Encode ``values`` as gRPC's typed contents."""
    flat = values.reshape(-1).tolist() if isinstance(values, np.ndarray) else list(map(_utf8, values))
    return pb.InferTensorContents(**{_CONTENTS[datatype]: flat})


def _check_count(where: str, count: int, shape: Sequence[int]) -> None:
    if count != (shape[0] if len(shape) == 1 else math.prod(shape)):
        raise InvalidRequest(
            f"{where}: shape {list(shape)} means {math.prod(shape)} values, but {count} were sent"
        )


def _flatten(where: str, data: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) == 1 or not data or not isinstance(data[0], list):
        return data
    rows = data
    for depth, dim in enumerate(shape[1:]):
        if any(type(row) is not list or len(row) != dim for row in rows):
            raise InvalidRequest(f"{where}: the lists in data are not nested as shape {shape} says")
        if depth == 0 and len(rows) != shape[0]:
            raise InvalidRequest(f"{where}: shape {shape} means {shape[0]} rows, but {len(rows)} were sent")
        rows = list(chain.from_iterable(rows))
    return rows


def _numbers(where: str, datatype: str, flat: list[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    dtype = NUMBER_TYPES[datatype]
    whole = dtype.kind == "i"
    if not set(map(type, flat)) <= ({int} if whole else {int, float}):
        raise InvalidRequest(f"{where}: {datatype} takes {'whole numbers' if whole else 'numbers'} only")
    try:
        wide = np.array(flat, dtype=np.int64 if whole else np.float64)
    except OverflowError:
        raise InvalidRequest(f"{where}: a number does not fit into {datatype}") from None
    if whole and wide.size:
        bounds = np.iinfo(np.int32)
        if wide.min() < bounds.min or wide.max() > bounds.max:
            raise InvalidRequest(f"{where}: a number does not fit into {datatype}")
    with np.errstate(over="ignore"):  # an overflow gives infinity, which _finite refuses
        return _finite(where, wide.astype(dtype))


def _finite(where: str, values: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    if values.dtype.kind == "f" and not _all_finite(values):
        raise InvalidRequest(f"{where}: a number is NaN, infinite or too large for FP32")
    return values


def _all_finite(values: np.ndarray[Any, np.dtype[Any]]) -> bool:
    if values.size <= _FEW_NUMBERS:
        return all(map(math.isfinite, values.reshape(-1).tolist()))
    return bool(np.isfinite(values).all())


def _texts(where: str, flat: list[Any]) -> list[str]:
    kinds = set(map(type, flat))
    if kinds <= {str}:
        return flat
    if kinds != {bytes}:
        raise InvalidRequest(f"{where}: BYTES takes strings only")
    texts = []
    for index, item in enumerate(flat):
        try:
            texts.append(item.decode())
        except UnicodeDecodeError:
            message = f"{where}: element {index} is not valid UTF-8; encode texts as UTF-8"
            raise InvalidRequest(message) from None
    return texts


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("a text holds a lone surrogate; only whole Unicode characters travel") from None


def _split_texts(where: str, raw: bytes) -> list[bytes]:
    texts = []
    at, end = 0, len(raw)
    while at < end:
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(raw, at)[0] if start <= end else end + 1
        if at > end:
            raise InvalidRequest(f"{where}: the last text is shorter than the length (uint32) before it says")
        texts.append(raw[start:at])
    return texts
