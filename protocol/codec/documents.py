"""Strict reading of JSON objects in requests: unknown fields and wrong types are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from protocol.errors import InvalidRequest


def read_object(body: bytes, example: str) -> dict[str, Any]:
    """``body`` as a JSON object.

    Args:
        body: all of it.
        example: of what it should look like, for the message.

    Raises:
        InvalidRequest: it is not one.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the body is not JSON in UTF-8 (see {where})") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"the body must be a JSON object, e.g. {example}")
    return document


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
