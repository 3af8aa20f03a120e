"""REST bytes to the SDK's InferRequest / InferResponse and back: JSON, and the v2 binary tensor extension.

It replaces the SDK's codec, which answers malformed input with 500, turns binary tensors into Python lists, writes
nulls, and drops ``binary_data_output`` when single outputs are requested. It is independent of a model's tables:
:mod:`protocol.codec.translate` and :mod:`protocol.codec.generate` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson

from protocol.codec.answers import our_fault, selected_outputs
from protocol.codec.arrays import (
    binary_from_values,
    check_datatype,
    check_shape,
    json_from_values,
    tensor_values,
    values_from_binary,
    values_from_json,
)
from protocol.codec.documents import check_fields, object_field, read_object, string_field
from protocol.codec.parameters import BINARY_OUTPUT
from protocol.codec.sdk import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from protocol.errors import InvalidRequest

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
"""Length in bytes of the JSON at the start of a binary body."""

_REQUEST_FIELDS = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_RESPONSE_FIELDS = ("id", "model_name", "model_version", "parameters", "outputs")
_TENSOR_FIELDS = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_FIELDS = ("name", "parameters")
_SIZE = "binary_data_size"
_BINARY = "binary_data"

_Tensor = TypeVar("_Tensor", InferInput, InferOutput)


def decode_rest_request(body: bytes, headers: Mapping[str, str], model_name: str) -> InferRequest:
    """Read a v2 inference request.

    Args:
        body: the whole body; Content-Type is not looked at, only the length header is.
        headers: with lower-case names.
        model_name: from the URL.

    Returns:
        Inputs that hold checked values: an array of the input's shape, or a flat ``list[str]`` for BYTES.

    Raises:
        InvalidRequest: anything about the body is wrong; the message says what to do.
    """
    document, tail = _split(body, headers)
    check_fields(document, _REQUEST_FIELDS, "the request")
    parameters = object_field(document, "parameters", "the request")
    if not isinstance(parameters.get(BINARY_OUTPUT, False), bool):
        raise InvalidRequest(f"parameter {BINARY_OUTPUT} must be true or false")
    return InferRequest(
        model_name=model_name,
        infer_inputs=_tensors(document, "inputs", tail, InferInput),
        request_id=string_field(document, "id"),
        parameters=parameters,
        request_outputs=_requested(document.get("outputs")) or None,
    )


def encode_rest_response(response: InferResponse, request: InferRequest) -> tuple[bytes, dict[str, str]]:
    """Write ``response``: the outputs that ``request`` asks for, in the form it asks for.

    Returns:
        Body and headers; an answer with a binary output has the length header and is an octet stream.

    Raises:
        InternalFault: the model's answer lacks an output, or holds a value that cannot travel.
    """
    by_default = request.use_binary_outputs
    outputs = [
        (output, by_default if wish is None else wish) for output, wish in selected_outputs(response, request)
    ]
    with our_fault("the model's answer cannot be sent"):
        return _encode(response, "outputs", outputs)


def encode_rest_request(request: InferRequest, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Write ``request`` as a client does.

    Args:
        request: inputs hold lists, arrays or raw bytes.
        binary: send every input, and ask for every output, in the binary form.
    """
    parameters = dict(request.parameters or {})
    if binary:
        parameters[BINARY_OUTPUT] = True
    wanted = [
        {"name": output.name, **({"parameters": output.parameters} if output.parameters else {})}
        for output in request.request_outputs or ()
    ]
    tensors = [(tensor, binary) for tensor in request.inputs]
    return _encode(request, "inputs", tensors, parameters=parameters, outputs=wanted)


def decode_rest_response(body: bytes, headers: Mapping[str, str]) -> InferResponse:
    """Read a v2 inference response.

    Args:
        body: the whole body.
        headers: with lower-case names.

    Raises:
        InternalFault: the body is not a v2 response. The original client cannot fix that.
    """
    with our_fault("the answer is not a v2 response"):
        document, tail = _split(body, headers)
        check_fields(document, _RESPONSE_FIELDS, "the response")
        return InferResponse(
            response_id=string_field(document, "id"),
            model_name=string_field(document, "model_name"),
            model_version=string_field(document, "model_version"),
            parameters=object_field(document, "parameters", "the response"),
            infer_outputs=_tensors(document, "outputs", tail, InferOutput),
        )


def _split(body: bytes, headers: Mapping[str, str]) -> tuple[dict[str, Any], bytes | None]:
    """The JSON document, and the bytes after it or None if no header says that there are any."""
    length = headers.get(JSON_LENGTH_HEADER.lower())
    tail = None
    if length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= len(body)):
            raise InvalidRequest(f"{JSON_LENGTH_HEADER} must be the length in bytes of the body's JSON part")
        body, tail = body[: int(length)], body[int(length) :]
    return read_object(body, '{"inputs": [...]}'), tail


def _tensors(document: dict[str, Any], kind: str, tail: bytes | None, cls: type[_Tensor]) -> list[_Tensor]:
    entries = document.get(kind)
    if not isinstance(entries, list) or not entries:
        raise InvalidRequest(f"{kind} must be a list of at least one tensor")
    tensors, at = [], 0
    for index, entry in enumerate(entries):
        where = f"{kind}[{index}]"
        tensor, at = _tensor(where, entry, tail, at, cls)
        tensors.append(tensor)
    if tail is not None and at != len(tail):
        raise InvalidRequest(f"the sizes in {_SIZE} add up to {at} bytes, but {len(tail)} follow the JSON")
    return tensors


def _tensor(
    where: str, entry: object, tail: bytes | None, at: int, cls: type[_Tensor]
) -> tuple[_Tensor, int]:
    """One tensor, and where in ``tail`` the next one starts."""
    if not isinstance(entry, dict):
        raise InvalidRequest(f"{where} must be an object with name, shape, datatype and data")
    check_fields(entry, _TENSOR_FIELDS, where)
    name = _name(where, entry)
    shape = check_shape(where, entry.get("shape", ()))
    datatype = check_datatype(where, entry.get("datatype"))
    size = object_field(entry, "parameters", where).get(_SIZE)
    if size is None:
        values = values_from_json(where, datatype, shape, entry.get("data"))
        return cls(name, shape, datatype, data=values), at
    if "data" in entry:
        raise InvalidRequest(f"{where} has both data and {_SIZE}; send one of them")
    if tail is None:
        raise InvalidRequest(f"{where} has {_SIZE}, but the header {JSON_LENGTH_HEADER} is missing")
    if type(size) is not int or not 0 <= size <= len(tail) - at:
        raise InvalidRequest(
            f"{where}: {_SIZE} must count bytes that follow the JSON; {len(tail) - at} are left"
        )
    values = values_from_binary(where, datatype, shape, tail[at : at + size])
    return cls(name, shape, datatype, data=values), at + size


def _requested(entries: object) -> list[RequestedOutput]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InvalidRequest('outputs must be a list, e.g. [{"name": "..."}]')
    outputs = []
    for index, entry in enumerate(entries):
        where = f"outputs[{index}]"
        if not isinstance(entry, dict):
            raise InvalidRequest(f"{where} must be an object with a name")
        check_fields(entry, _OUTPUT_FIELDS, where)
        parameters = object_field(entry, "parameters", where)
        if not isinstance(parameters.get(_BINARY, False), bool):
            raise InvalidRequest(f"{where}: parameter {_BINARY} must be true or false")
        outputs.append(RequestedOutput(_name(where, entry), parameters or None))
    return outputs


def _encode(
    message: InferRequest | InferResponse,
    kind: str,
    tensors: Sequence[tuple[Any, bool]],
    **extra: object,
) -> tuple[bytes, dict[str, str]]:
    entries: list[dict[str, object]] = []
    raw: list[bytes] = []
    for index, (tensor, binary) in enumerate(tensors):
        values = tensor_values(f"{kind}[{index}]", tensor)
        entry = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
        if binary:
            raw.append(binary_from_values(values))
            entry["parameters"] = {_SIZE: len(raw[-1])}
        else:
            entry["data"] = json_from_values(values)
        entries.append(entry)
    fields = {
        "id": message.id,
        "model_name": message.model_name,
        "model_version": message.model_version,
        "parameters": message.parameters,
        **extra,
        kind: entries,
    }
    return _join({name: value for name, value in fields.items() if value}, raw)


def _join(document: dict[str, object], raw: list[bytes]) -> tuple[bytes, dict[str, str]]:
    try:
        body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        raise InvalidRequest("a text is not whole Unicode, or a parameter is no JSON value") from None
    if not raw:
        return body, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(body))}
    return b"".join([body, *raw]), headers


def _name(where: str, entry: Mapping[str, object]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where} must have a name")
    return name
