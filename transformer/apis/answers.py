"""What the APIs' responses have in common: JSON, headers, and operations of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from serving.error_responses import RestResponse

IGNORED_HEADER = "x-yiwen-ignored"
"""Names of parameters that were accepted and have no effect, separated by commas."""
FLAGS_HEADER = "x-yiwen-flags"
"""Kinds of fault that the guards found in the translations, separated by commas (docs/texts.md)."""


def json_answer(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> RestResponse:
    """A JSON response.

    Args:
        document: what orjson can serialize.
        status: of HTTP.
        headers: besides Content-Type.
    """
    return RestResponse(
        status, orjson.dumps(document), {"content-type": "application/json", **(headers or {})}
    )


def listing_header(name: str, values: Iterable[str]) -> dict[str, str]:
    """A header that lists words; no header if there are none."""
    listed = ", ".join(dict.fromkeys(values))
    return {name: listed} if listed else {}


def operation(
    summary: str,
    fields: Mapping[str, Mapping[str, object]] | None = None,
    *,
    required: Iterable[str] = (),
    answers: Iterable[int] = (200,),
    media_types: Iterable[str] = ("application/json",),
) -> dict[str, object]:
    """An operation of the OpenAPI document. The statuses of errors are added to it, as the API's table has them.

    Args:
        summary: what it does.
        fields: JSON schemas of the request's fields by name; None for an operation without a body.
        required: names of the fields that must be sent.
        answers: HTTP statuses that it answers with unless there is an error.
        media_types: of the request's body.
    """
    responses = {str(status): {"description": "The answer."} for status in answers}
    document: dict[str, object] = {"summary": summary, "responses": responses}
    if fields is not None:
        schema = {"type": "object", "properties": dict(fields), "required": list(required)}
        content = {media_type: {"schema": schema} for media_type in media_types}
        document["requestBody"] = {"required": bool(schema["required"]), "content": content}
    return document


FORM_OR_JSON = ("application/json", "application/x-www-form-urlencoded")
STRING: Mapping[str, object] = {"type": "string"}
STRINGS: Mapping[str, object] = {
    "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
}
