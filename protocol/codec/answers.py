"""Responses, common to REST and gRPC: selection of outputs, and errors of malformed responses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from protocol.codec.sdk import InferOutput, InferRequest, InferResponse
from protocol.errors import InternalFault, InvalidRequest


@contextmanager
def our_fault(what: str) -> Iterator[None]:
    """Turn InvalidRequest into InternalFault: a malformed response is never the client's fault."""
    try:
        yield
    except InvalidRequest as error:
        raise InternalFault(f"{what}: {error.message}") from None


def selected_outputs(response: InferResponse, request: InferRequest) -> list[tuple[InferOutput, bool | None]]:
    """The requested outputs in the order of the request; all if it names none.

    Each comes with its parameter ``binary_data``, None if that is absent.

    Raises:
        InternalFault: the response lacks an output that was asked for.
    """
    if not request.request_outputs:
        return [(output, None) for output in response.outputs]
    chosen = []
    for wanted in request.request_outputs:
        output = response.get_output_by_name(wanted.name)
        if output is None:
            raise InternalFault("the model's answer lacks an output that the request asked for")
        chosen.append((output, wanted.binary_data))
    return chosen
