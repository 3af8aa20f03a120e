"""The release id in a v2 response, written and read for both tensor tables."""

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
    """The response to ``request``.

    Args:
        request: gives the response's id, model name and form.
        release: id of the release that answered.
        outputs: of the response.
    """
    return InferResponse(
        response_id=request.id,
        model_name=request.model_name,
        model_version=release,
        parameters={"release": release},
        infer_outputs=list(outputs),
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )
