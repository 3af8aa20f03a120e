"""gRPC messages to the SDK's InferRequest / InferResponse and back, as strictly as over REST.

It replaces the SDK's conversion, which mixes raw and typed tensors, takes no fractions as parameters and does not
check contents. As in the SDK, a request with raw inputs gets raw outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from protocol.codec.answers import our_fault, selected_outputs
from protocol.codec.arrays import (
    Values,
    binary_from_values,
    check_datatype,
    check_shape,
    contents_from_values,
    tensor_values,
    values_from_binary,
    values_from_contents,
)
from protocol.codec.parameters import PRIORITY
from protocol.codec.sdk import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput, pb
from protocol.errors import InvalidRequest

_Tensor = TypeVar("_Tensor", InferInput, InferOutput)


def decode_grpc_request(message: pb.ModelInferRequest) -> InferRequest:
    """Read a ``ModelInferRequest``; see :func:`protocol.codec.decode_rest_request` for what comes out.

    Raises:
        InvalidRequest: anything about the message is wrong; the message says what to do.
    """
    if not message.inputs:
        raise InvalidRequest("inputs must hold at least one tensor")
    raw = message.raw_input_contents
    return InferRequest(
        model_name=message.model_name,
        infer_inputs=_tensors(message.inputs, raw, "inputs", InferInput),
        request_id=message.id or None,
        # The SDK asks for raw outputs when it is given raw inputs; they are None by now, so it stores nothing.
        raw_inputs=[None] * len(raw),
        from_grpc=True,
        parameters=_plain(message.parameters),
        request_outputs=[RequestedOutput(output.name) for output in message.outputs] or None,
        model_version=message.model_version or None,
    )


def encode_grpc_response(response: InferResponse, request: InferRequest) -> pb.ModelInferResponse:
    """Write ``response``: the outputs that ``request`` asks for, all raw or all typed.

    Raises:
        InternalFault: the model's answer lacks an output, or holds a value that cannot travel.
    """
    with our_fault("the model's answer cannot be sent"):
        outputs = [output for output, _ in selected_outputs(response, request)]
        message = pb.ModelInferResponse(
            id=response.id or "",
            model_name=response.model_name or "",
            model_version=response.model_version or "",
            parameters=_wrapped(response.parameters),
        )
        _fill(message, "outputs", outputs, raw=request.use_binary_outputs)
        return message


def encode_grpc_request(request: InferRequest, *, raw: bool) -> pb.ModelInferRequest:
    """Write ``request`` as a client does; ``raw`` sends every input, and gets every output, as raw bytes."""
    message = pb.ModelInferRequest(
        id=request.id or "",
        model_name=request.model_name,
        model_version=request.model_version or "",
        parameters=_wrapped(request.parameters),
    )
    for output in request.request_outputs or ():
        message.outputs.add(name=output.name)
    _fill(message, "inputs", request.inputs, raw=raw)
    return message


def decode_grpc_response(message: pb.ModelInferResponse) -> InferResponse:
    """Read a ``ModelInferResponse``.

    Raises:
        InternalFault: the tensors do not hold together.
    """
    with our_fault("the answer is not a v2 response"):
        return InferResponse(
            response_id=message.id or None,
            model_name=message.model_name,
            model_version=message.model_version or None,
            parameters=_plain(message.parameters),
            infer_outputs=_tensors(message.outputs, message.raw_output_contents, "outputs", InferOutput),
            from_grpc=True,
        )


def _tensors(tensors: Sequence[Any], raw: Sequence[bytes], kind: str, cls: type[_Tensor]) -> list[_Tensor]:
    if raw and len(raw) != len(tensors):
        raise InvalidRequest(f"{len(tensors)} {kind} but {len(raw)} raw contents: send one for each, or none")
    decoded = []
    for index, tensor in enumerate(tensors):
        where = f"{kind}[{index}]"
        if not tensor.name:
            raise InvalidRequest(f"{where} must have a name")
        shape = check_shape(where, tensor.shape)
        datatype = check_datatype(where, tensor.datatype)
        values: Values
        if raw:
            if tensor.HasField("contents"):
                raise InvalidRequest(f"{where} has both contents and raw contents; send one of them")
            values = values_from_binary(where, datatype, shape, raw[index])
        else:
            values = values_from_contents(where, datatype, shape, tensor.contents)
        decoded.append(cls(tensor.name, shape, datatype, data=values))
    return decoded


def _fill(
    message: pb.ModelInferRequest | pb.ModelInferResponse,
    kind: str,
    tensors: Sequence[InferInput | InferOutput],
    *,
    raw: bool,
) -> None:
    into, raw_contents = getattr(message, kind), getattr(message, f"raw_{kind[:-1]}_contents")
    for index, tensor in enumerate(tensors):
        values = tensor_values(f"{kind}[{index}]", tensor)
        entry = into.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            raw_contents.append(binary_from_values(values))
        else:
            entry.contents.CopyFrom(contents_from_values(tensor.datatype, values))


def _plain(parameters: Mapping[str, pb.InferParameter]) -> dict[str, object]:
    values = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None and name == PRIORITY:
            continue  # Triton's protocol sends it in a field that KServe's does not have
        if choice is None:
            raise InvalidRequest("a parameter has no value; set bool_param, int64_param or string_param")
        values[name] = getattr(parameter, choice)
    return values


def _wrapped(parameters: Mapping[str, object] | None) -> dict[str, pb.InferParameter]:
    return {name: _parameter(value) for name, value in (parameters or {}).items()}


def _parameter(value: object) -> pb.InferParameter:
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(int64_param=value)
    # This protocol has no field for fractions, so they travel as text that reads back to the same number.
    return pb.InferParameter(string_param=value if isinstance(value, str) else repr(value))
