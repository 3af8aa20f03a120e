"""A request to one of the public APIs besides the v2 protocol, and the fields that its body and query hold."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qsl

import orjson
from python_multipart import create_form_parser
from python_multipart.exceptions import FormParserError

from protocol.errors import InvalidRequest
from serving.model import RequestInfo

_MAX_FIELDS = 10_000
"""Most fields of a form or a query."""
_OF_OBJECT = re.compile(r"(\w+)\[(\d{1,4})\](?:\.(\w+)|\[(\w+)\])")
"""A form's field of an object in a list: ``name[0].field``, or ``name[0][field]``."""
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file in a multipart body."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class EventFrames:
    """A streamed response: complete server-sent events, each as its bytes."""

    frames: AsyncGenerator[bytes, None]


class Fields:
    """Named values of a request; JSON values keep their type, those of forms and queries are strings."""

    def __init__(
        self, values: Mapping[str, Sequence[object]], files: Mapping[str, UploadedFile] | None = None
    ) -> None:
        self._values = values
        self.files = files or {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all fields that were sent."""
        return tuple(self._values)

    def value(self, name: str) -> object:
        """The last value of a field as it was sent; None if it is missing or null."""
        values = self._values.get(name)
        return values[-1] if values else None

    def text(self, name: str) -> str | None:
        """A string; None if the field is missing.

        Raises:
            InvalidRequest: it is no string.
        """
        value = self.value(name)
        if value is None or isinstance(value, str):
            return value
        raise InvalidRequest(f"{name} must be a string")

    def texts(self, name: str) -> list[str]:
        """The strings of a repeated field or of a JSON array; empty if the field is missing.

        Raises:
            InvalidRequest: one of them is no string.
        """
        found: list[str] = []
        for value in self._values.get(name, ()):
            for each in value if isinstance(value, list) else (value,):
                if not isinstance(each, str):
                    raise InvalidRequest(f"{name} must be a string or an array of strings")
                found.append(each)
        return found

    def objects(self, name: str) -> list[Fields]:
        """The objects of a JSON array, or of a form's fields such as ``name[0].field``; empty if there are none.

        Raises:
            InvalidRequest: the field is no array of objects.
        """
        listed = self.value(name)
        if listed is None:
            return self._objects_of_form(name)
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise InvalidRequest(f"{name} must be an array of objects")
        return [Fields({field: [value] for field, value in each.items()}) for each in listed]

    def _objects_of_form(self, name: str) -> list[Fields]:
        found: dict[int, dict[str, Sequence[object]]] = {}
        for sent, values in self._values.items():
            match = _OF_OBJECT.fullmatch(sent)
            if match and match[1] == name:
                found.setdefault(int(match[2]), {})[match[3] or match[4]] = values
        return [Fields(found[index]) for index in sorted(found)]

    def integer(self, name: str) -> int | None:
        """An integer; None if the field is missing.

        Raises:
            InvalidRequest: it is no integer.
        """
        value = self.value(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, str) and len(value) <= 18 and value.strip().lstrip("-").isdecimal():
            return int(value)
        raise InvalidRequest(f"{name} parameter is not a number")

    def flag(self, name: str) -> bool | None:
        """A boolean, also as 1, 0 or a word; None if the field is missing.

        Raises:
            InvalidRequest: it is none of these.
        """
        value = self.value(name)
        if value is None or isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise InvalidRequest(f"{name} must be true or false")


@dataclass(frozen=True)
class ApiRequest:
    """One request, read to its end."""

    method: str
    path: str
    arguments: Mapping[str, str]
    """Values of the parts in braces of the route's path."""
    query: bytes
    body: bytes
    info: RequestInfo

    @cached_property
    def fields(self) -> Fields:
        """The fields of the body and, where the body does not have them, of the query.

        Raises:
            InvalidRequest: the body is not what its Content-Type says.
        """
        own = self._body_fields()
        query = _pairs(self.query)
        return Fields({**query, **own._values}, own.files) if query else own

    def _body_fields(self) -> Fields:
        media_type, _, _ = self.info.headers.get("content-type", "").partition(";")
        media_type = media_type.strip().lower()
        body = self.body
        if not body:
            return Fields({})
        if media_type == "multipart/form-data":
            return _multipart(self.info.headers["content-type"], body)
        # `curl -d '{...}'` sends JSON as a form.
        if media_type == "application/json" or media_type.endswith("+json") or body.lstrip()[:1] == b"{":
            return Fields({name: [value] for name, value in _object(body).items() if value is not None})
        if media_type in ("", "application/x-www-form-urlencoded"):
            return Fields(_pairs(body))
        raise InvalidRequest("Content-Type must be application/json, or that of a form")


def _object(body: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(body)
    except ValueError:
        raise InvalidRequest("Invalid JSON format") from None
    if not isinstance(document, dict):
        raise InvalidRequest("Invalid JSON format: the body must be an object")
    return document


def _pairs(text: bytes) -> dict[str, Sequence[object]]:
    """The fields of a query or of a form (application/x-www-form-urlencoded)."""
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise InvalidRequest(f"the form is not UTF-8, or has more than {_MAX_FIELDS} fields") from None
    found: dict[str, list[object]] = {}
    for name, value in pairs:
        found.setdefault(name.removesuffix("[]"), []).append(value)
    return dict(found)


def _multipart(content_type: str, body: bytes) -> Fields:
    values: dict[str, list[object]] = {}
    files: dict[str, UploadedFile] = {}

    def on_field(field: object) -> None:
        name, value = field.field_name.decode(), field.value  # type: ignore[attr-defined]
        values.setdefault(name, []).append((value or b"").decode())

    def on_file(file: object) -> None:
        file.file_object.seek(0)  # type: ignore[attr-defined]
        name = (file.field_name or b"").decode()  # type: ignore[attr-defined]
        files[name] = UploadedFile((file.file_name or b"").decode(), file.file_object.read())  # type: ignore[attr-defined]

    try:
        parser = create_form_parser(
            {"Content-Type": content_type.encode()},
            on_field,
            on_file,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError, ValueError):
        raise InvalidRequest("the body is not multipart/form-data") from None
    return Fields(values, files)
