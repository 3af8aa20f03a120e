"""Reads a message's tensors by name, and checks them against a table of :mod:`protocol.tensors`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from protocol.codec.arrays import Values, tensor_values
from protocol.codec.sdk import InferInput, InferOutput, InferRequest
from protocol.errors import InvalidRequest
from protocol.suggestions import nearest
from protocol.tensors import TensorSpec

_Tensor = TypeVar("_Tensor", InferInput, InferOutput)


def values_by_name(tensors: Sequence[_Tensor], table: Sequence[TensorSpec], kind: str) -> dict[str, Values]:
    """Values of ``tensors`` by name: arrays of the table's datatype and rank, flat lists for BYTES.

    Args:
        tensors: inputs or outputs of a message.
        table: name, datatype and shape of those expected.
        kind: ``input`` or ``output``, for the messages.

    Raises:
        InvalidRequest: a tensor is unknown, repeated, missing, or does not match the table.
    """
    specs = {spec.name: spec for spec in table}
    found: dict[str, Values] = {}
    for index, tensor in enumerate(tensors):
        spec = specs.get(tensor.name)
        if spec is None:
            raise InvalidRequest(f"{kind}s[{index}] has an unknown name: {_offer(tensor.name, table)}")
        if spec.name in found:
            raise InvalidRequest(f"{kind} {spec.name} is there twice; send it once")
        if tensor.datatype != spec.datatype or len(tensor.shape) != len(spec.shape):
            raise InvalidRequest(f"{kind} {spec.name} must be {_describe(spec)}")
        found[spec.name] = tensor_values(f"{kind} {spec.name}", tensor)
    for spec in table:
        if not spec.optional and spec.name not in found:
            raise InvalidRequest(f"{kind} {spec.name} is missing: send it as {_describe(spec)}")
    return found


def check_requested_outputs(request: InferRequest, table: Sequence[TensorSpec]) -> None:
    """Raise InvalidRequest unless ``outputs`` names outputs of ``table``, each at most once."""
    names = [output.name for output in request.request_outputs or ()]
    known = {spec.name for spec in table}
    for index, name in enumerate(names):
        if name not in known:
            raise InvalidRequest(f"outputs[{index}] has an unknown name: {_offer(name, table)}")
    if len(set(names)) != len(names):
        raise InvalidRequest("outputs names the same output twice; ask for each once")


def texts(values: Mapping[str, Values], spec: TensorSpec) -> list[str] | None:
    """Strings of a BYTES tensor checked by :func:`values_by_name`; None if it is absent."""
    found = values.get(spec.name)
    return found if isinstance(found, list) else None


def numbers(values: Mapping[str, Values], spec: TensorSpec) -> np.ndarray[Any, np.dtype[Any]]:
    """Array of a required tensor checked by :func:`values_by_name`."""
    return np.asarray(values[spec.name])


def tensor(cls: type[_Tensor], spec: TensorSpec, data: Values) -> _Tensor:
    """Make a tensor of ``spec`` with the values ``data``."""
    shape = list(data.shape) if isinstance(data, np.ndarray) else [len(data)]
    return cls(spec.name, shape, spec.datatype, data=data)


def _describe(spec: TensorSpec) -> str:
    return f"{spec.datatype} of shape [{', '.join('NS'[axis] for axis in range(len(spec.shape)))}]"


def _offer(name: str, table: Sequence[TensorSpec]) -> str:
    known = [spec.name for spec in table]
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"known are {', '.join(known)}"
