"""Responses, common to REST and gRPC: selection of outputs, and errors of malformed responses."""

from __future__ import annotations

from types import TracebackType

from protocol.codec.sdk import InferOutput, InferRequest, InferResponse
from protocol.errors import InternalFault, InvalidRequest


class our_fault:  # noqa: N801  # used like a function
    """Turns InvalidRequest into InternalFault: a malformed response is never the client's fault."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, InvalidRequest):
            raise InternalFault(f"{self._what}: {error.message}") from None


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
