"""Strict reading of JSON objects in requests: unknown fields and wrong types are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, TooLong

MAX_VALUES = 2**18
"""Commas and opening brackets in a JSON body, those in strings included. So many take 0.1 s and 25 MiB to read; the
queue of a predictor has room for half as many tokens."""


def read_object(body: bytes, example: str) -> dict[str, Any]:
    """``body`` as a JSON object.

    Args:
        body: all of it.
        example: of what it should look like, for the message.

    Raises:
        InvalidRequest: it is not one.
        TooLong: it has too many values.
    """
    _check_values(body)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the body is not JSON in UTF-8 (see {where})") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"the body must be a JSON object, e.g. {example}")
    return document


def _check_values(body: bytes) -> None:
    """Raise TooLong if ``body`` has so many values that reading them would hold up everything else."""
    if len(body) > MAX_VALUES:
        values = sum(map(body.count, (b",", b"[", b"{")))
        if values > MAX_VALUES:
            raise TooLong(
                f"the body has {values} JSON values, at most {MAX_VALUES} are taken; send fewer at a time, or in the "
                "binary form",
                code=ErrorCode.BODY_TOO_LARGE,
            )


def check_fields(document: Mapping[str, object], known: Collection[str], where: str) -> None:
    """Refuse unknown fields.

    Args:
        document: a JSON object.
        known: names of all its fields.
        where: names the document in the message.

    Raises:
        InvalidRequest: there is another field.
    """
    if not document.keys() <= set(known):
        raise InvalidRequest(f"{where} has an unknown field; known are {', '.join(known)}")


def object_field(document: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """An object in a document, empty if it is absent or null.

    Args:
        document: a JSON object.
        name: of the field.
        where: names the document in the message.

    Raises:
        InvalidRequest: the field is no object.
    """
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} of {where} must be an object")
    return value


def string_field(document: Mapping[str, Any], name: str) -> str | None:
    """A string in ``document``, None if it is absent or null."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string")
    return value
