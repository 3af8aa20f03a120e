"""The response parameter that names the release an answer comes from."""

from __future__ import annotations

from protocol.codec.sdk import InferResponse
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
