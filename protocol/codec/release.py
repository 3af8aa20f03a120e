"""Every answer names the release it comes from: written and read here alone, for both tables."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.codec.sdk import InferOutput, InferRequest, InferResponse
from protocol.errors import InvalidRequest


def release_of(response: InferResponse) -> str:
    """Id of the release that answered.

    Raises:
        InvalidRequest: the response does not name one.
    """
    release = (response.parameters or {}).get("release")
    if not isinstance(release, str) or not release:
        raise InvalidRequest("the parameter release, which names the release that answered, is missing")
    return release


def answer_to(request: InferRequest, release: str, outputs: Sequence[InferOutput]) -> InferResponse:
    """``outputs`` as the answer to ``request``: under its id, in the form it asked for, naming ``release``."""
    return InferResponse(
        response_id=request.id,
        model_name=request.model_name,
        model_version=release,
        parameters={"release": release},
        infer_outputs=list(outputs),
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )
