"""Converts GenerateRequest and GenerateResponse to the SDK's types and back, by the predictor's internal table.

Rows are right-padded; the padding is never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from protocol.codec.answers import our_fault
from protocol.codec.arrays import Values
from protocol.codec.parameters import INT64_MAX, Parameters
from protocol.codec.release import answer_to, release_of
from protocol.codec.sdk import InferInput, InferOutput, InferRequest, InferResponse
from protocol.codec.tables import check_requested_outputs, numbers, tensor, texts, values_by_name
from protocol.errors import InternalFault, InvalidRequest
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, Generation, SamplingParams
from protocol.tensors import (
    FINISH_REASON,
    GENERATE_INPUTS,
    GENERATE_OUTPUTS,
    GENERATE_PARAMETERS,
    INPUT_IDS,
    INPUT_LENGTHS,
    LOGPROB,
    MAX_NEW_TOKENS,
    MAX_REPEATS,
    OUTPUT_IDS,
    OUTPUT_LENGTHS,
    TensorSpec,
)

_Array = np.ndarray[Any, np.dtype[Any]]


def generate_request_from_infer(request: InferRequest) -> GenerateRequest:
    """Decode the transformer's request to the predictor.

    Raises:
        InvalidRequest: an input, parameter or requested output is missing, unknown or wrong.
    """
    values = values_by_name(request.inputs, GENERATE_INPUTS, "input")
    check_requested_outputs(request, GENERATE_OUTPUTS)
    parameters = Parameters.of(request.parameters, GENERATE_PARAMETERS)
    ids, lengths = numbers(values, INPUT_IDS), numbers(values, INPUT_LENGTHS)
    if not len(ids):
        raise InvalidRequest("input input_ids is empty: send at least one prompt")
    return GenerateRequest(
        prompts=_unpad(ids, lengths, INPUT_IDS.name, INPUT_LENGTHS.name, shortest=1),
        max_new_tokens=_max_new_tokens(values, parameters, len(ids)),
        max_repeats=_max_repeats(values, parameters, len(ids)),
        params=_sampling(parameters),
        release=parameters.text("release"),
        deadline_ms=parameters.deadline_ms(),
    )


def infer_from_generate_request(
    request: GenerateRequest, *, model_name: str, request_id: str | None = None
) -> InferRequest:
    """Encode a request; the inverse of :func:`generate_request_from_infer`.

    Args:
        request: prompts and their parameters.
        model_name: in the predictor's URL.
        request_id: of the v2 protocol.
    """
    params = request.params
    parameters = {
        "release": request.release,
        "deadline_ms": request.deadline_ms,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k or None,
        "seed": params.seed,
    }
    ids, lengths = _pad(request.prompts)
    inputs = [
        tensor(InferInput, INPUT_IDS, ids),
        tensor(InferInput, INPUT_LENGTHS, lengths),
        tensor(InferInput, MAX_NEW_TOKENS, np.array(request.max_new_tokens, dtype=np.int32)),
    ]
    if any(request.max_repeats):
        inputs.append(tensor(InferInput, MAX_REPEATS, np.array(request.max_repeats, dtype=np.int32)))
    return InferRequest(
        model_name=model_name,
        infer_inputs=inputs,
        request_id=request_id,
        parameters={name: value for name, value in parameters.items() if value is not None},
    )


def infer_from_generate_response(response: GenerateResponse, request: InferRequest) -> InferResponse:
    """Encode the predictor's response to ``request``.

    Raises:
        InternalFault: a log-probability is not a finite number.
    """
    answers = response.generations
    ids, lengths = _pad([answer.token_ids for answer in answers])
    logprob = np.array([answer.logprob for answer in answers], dtype=np.float32)
    if not np.isfinite(logprob).all():
        raise InternalFault("a log-probability is not a finite number")
    outputs = [
        tensor(InferOutput, OUTPUT_IDS, ids),
        tensor(InferOutput, OUTPUT_LENGTHS, lengths),
        tensor(InferOutput, LOGPROB, logprob),
        tensor(InferOutput, FINISH_REASON, [answer.finish_reason.value for answer in answers]),
    ]
    return answer_to(request, response.release, outputs)


def generate_response_from_infer(response: InferResponse) -> GenerateResponse:
    """Decode a response; the inverse of :func:`infer_from_generate_response`.

    Raises:
        InternalFault: the response does not match the table.
    """
    with our_fault("the predictor's answer cannot be read"):
        values = values_by_name(response.outputs, GENERATE_OUTPUTS, "output")
        lengths = numbers(values, OUTPUT_LENGTHS)
        rows = _unpad(numbers(values, OUTPUT_IDS), lengths, OUTPUT_IDS.name, OUTPUT_LENGTHS.name, shortest=0)
        logprobs = numbers(values, LOGPROB).tolist()
        reasons = [_finish_reason(reason) for reason in texts(values, FINISH_REASON) or ()]
        if not len(rows) == len(logprobs) == len(reasons):
            raise InvalidRequest("the outputs differ in length")
        generations = tuple(
            Generation(token_ids=ids, logprob=logprob, finish_reason=reason)
            for ids, logprob, reason in zip(rows, logprobs, reasons, strict=True)
        )
        return GenerateResponse(generations=generations, release=release_of(response))


def _max_new_tokens(values: Mapping[str, Values], parameters: Parameters, rows: int) -> tuple[int, ...]:
    bounds = _of_rows(MAX_NEW_TOKENS, values, parameters, rows, low=1)
    if bounds is None:
        raise InvalidRequest("max_new_tokens is missing: say how many tokens may be generated")
    return bounds


def _max_repeats(values: Mapping[str, Values], parameters: Parameters, rows: int) -> tuple[int, ...]:
    bounds = _of_rows(MAX_REPEATS, values, parameters, rows, low=0) or ()
    if 1 in bounds:
        raise InvalidRequest("every value of max_repeats must be 0, which stops nothing, or at least 2")
    return bounds


def _of_rows(
    spec: TensorSpec, values: Mapping[str, Values], parameters: Parameters, rows: int, *, low: int
) -> tuple[int, ...] | None:
    """One value per row, from the tensor of shape [1] or [N] or from the parameter; None without both."""
    name = spec.name
    parameter = parameters.integer(name, low=low)
    if name not in values:
        return None if parameter is None else (parameter,) * rows
    if parameter is not None:
        raise InvalidRequest(f"{name} is there as input and as parameter; send one of them")
    given = numbers(values, spec)
    if len(given) not in (1, rows):
        raise InvalidRequest(f"{name} has {len(given)} values; send one, or one for each of {rows} rows")
    if given.min() < low:
        raise InvalidRequest(f"every value of {name} must be at least {low}")
    return tuple(np.broadcast_to(given, rows).tolist())


def _sampling(parameters: Parameters) -> SamplingParams:
    temperature = parameters.number("temperature", low=0.0)
    top_p = parameters.number("top_p", low=0.0, high=1.0, above=True)
    return SamplingParams(
        temperature=0.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        seed=parameters.integer("seed", low=0, high=INT64_MAX) or 0,
        top_k=parameters.integer("top_k", low=0) or 0,
    )


def _finish_reason(reason: str) -> FinishReason:
    try:
        return FinishReason(reason)
    except ValueError:
        raise InvalidRequest("a finish reason is unknown") from None


def _pad(rows: Sequence[Sequence[int]]) -> tuple[_Array, _Array]:
    """``rows`` as INT32 [N, longest], right-padded with 0, and their lengths as INT32 [N]."""
    lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
    width = int(lengths.max()) if len(rows) else 0
    ids = np.zeros((len(rows), width), dtype=np.int32)
    ids[_mask(lengths, width)] = np.fromiter(chain.from_iterable(rows), dtype=np.int32)
    return ids, lengths


def _unpad(
    ids: _Array, lengths: _Array, ids_name: str, lengths_name: str, *, shortest: int
) -> tuple[tuple[int, ...], ...]:
    """Rows of ``ids`` [N, S] cut to ``lengths`` [N], each id checked to be >= 0."""
    if len(lengths) != len(ids):
        raise InvalidRequest(
            f"{lengths_name} has {len(lengths)} values; send one for each of {len(ids)} rows"
        )
    width = ids.shape[1]
    if len(lengths) and not (lengths.min() >= shortest and lengths.max() <= width):
        raise InvalidRequest(
            f"every value of {lengths_name} must be from {shortest} to {width}, the row's width"
        )
    if (ids[_mask(lengths, width)] < 0).any():
        raise InvalidRequest(f"{ids_name} holds a negative id")
    rows = ids.tolist()
    return tuple(tuple(row[:length]) for row, length in zip(rows, lengths.tolist(), strict=True))


def _mask(lengths: _Array, width: int) -> _Array:
    return np.arange(width) < lengths[:, None]
