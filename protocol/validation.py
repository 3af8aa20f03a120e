"""Settings and documents read by pydantic: one strict configuration, and errors in the project's words.

pydantic takes a tenth of a second to import: what must start fast imports this module where it reads something.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_json

from protocol.suggestions import did_you_mean

T = TypeVar("T")

STRICT = ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
)
"""No conversions, no unknown fields: ``@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=STRICT)``."""


class StrictModel(BaseModel):
    """Base of models that are frozen, convert nothing and refuse unknown fields."""

    model_config = ConfigDict(frozen=True, **STRICT)


class Wording(Enum):
    """The two forms of message: for environment variables, and for fields of a document."""

    SETTING = "setting"
    """``slots must be at least 1, not 0``; ``slot is not a setting, did you mean slots?``"""
    DOCUMENT = "document"
    """``release.json.slots is 0, it must be at least 1``; ``release.json has the unknown field slot: ...``"""


def validate(kind: type[T], document: object, *, place: str = "", error: Callable[[str], Exception]) -> T:
    """A document that a JSON or YAML parser made, as a value of type ``kind``.

    Lists become tuples, strings become enums and paths, whole numbers become floats; nothing else is converted.

    Args:
        kind: a pydantic model or dataclass, or any type that pydantic knows.
        document: of dicts, lists, strings, numbers, bools and None.
        place: where it is, e.g. ``PROFILE.json``; begins the path of every field in a message. May be empty.
        error: makes the exception that is raised, from a message.

    Raises:
        Exception: what ``error`` makes; its message names every fault.
    """
    try:
        text = to_json(document, inf_nan_mode="constants")
    except ValueError as fault:
        raise error(f"{place} holds what JSON cannot: {fault}".strip()) from fault
    return validate_json(kind, text, place=place, error=error)


def validate_json(
    kind: type[T], text: str | bytes, *, place: str = "", error: Callable[[str], Exception]
) -> T:
    """Parse JSON as a value of type ``kind``; see :func:`validate`.

    Args:
        kind: a dataclass or another type that pydantic knows.
        text: JSON.
        place: of the document, in front of the faults' places.
        error: makes the exception of the message.

    Raises:
        Exception: what ``error`` makes; its message names every fault.
    """
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as fault:
        raise error("; ".join(faults(fault, kind, place=place))) from fault


def validate_strings(kind: type[T], values: Mapping[str, str], *, error: Callable[[str], Exception]) -> T:
    """Parse named strings, such as environment variables, as a value of type ``kind``.

    Args:
        kind: a dataclass whose fields have the names as ``validation_alias``.
        values: by name.
        error: makes the exception of the message.

    Raises:
        Exception: what ``error`` makes; its message names every fault.
    """
    try:
        return _adapter(kind).validate_strings(dict(values))
    except ValidationError as fault:
        raise error("; ".join(faults(fault, kind, wording=Wording.SETTING))) from fault


def faults(
    error: ValidationError, kind: type[Any], *, place: str = "", wording: Wording = Wording.DOCUMENT
) -> list[str]:
    """One message for each thing that is wrong: the field's path, what it must be, and what it is.

    Args:
        error: what pydantic raised.
        kind: the type that was validated; says which names are known.
        place: begins every path.
        wording: the form of the messages.
    """
    return [_message(detail, kind, place, wording) for detail in error.errors(include_url=False)]


def field_names(kind: object) -> list[str]:
    """Names that a document of type ``kind`` may have: aliases where fields have one. Empty if it has no fields."""
    return list(_fields(kind))


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    found: TypeAdapter[T] | None = _adapters.get(kind)
    if found is None:
        found = _adapters[kind] = TypeAdapter(kind)
    return found


_adapters: dict[object, TypeAdapter[Any]] = {}


def _message(detail: ErrorDetails, kind: type[Any], place: str, wording: Wording) -> str:
    loc, fault = detail["loc"], detail["type"]
    path = _path(place, loc) or "the document"
    is_setting = wording is Wording.SETTING
    if fault in _MISSING:
        return f"{path} is missing" if is_setting else f"{path} is missing: add it"
    if fault in _UNKNOWN:
        known = field_names(_type_at(kind, loc[:-1]))
        return _unknown_setting(path, known) if is_setting else _unknown_field(loc, known, place)
    if fault in ("value_error", "assertion_error"):
        return _own_message(path, str(detail["ctx"]["error"]), known=field_names(_type_at(kind, loc)))
    if fault == "json_invalid":
        return f"{path} cannot be read: {detail['ctx']['error']}"
    bound = _bound(detail, is_setting)
    if bound is not None:
        if is_setting:
            return f"{path} must be {bound}, not {detail['input']}"
        return f"{path} is {detail['input']}, it must be {_range(_field_at(kind, loc)) or bound}"
    if fault == "finite_number":
        return f"{path} must be a finite number"
    wanted, value = _requirement(detail), detail["input"]
    if is_setting or fault in ("literal_error", "enum"):
        return f"{path} must be {wanted}, not {value!r}"
    return f"{path} must be {wanted}, not {_name_of_type(value)}"


def _unknown_setting(path: str, known: Sequence[str]) -> str:
    return f"{path} is not a setting{did_you_mean(path, known, cutoff=0.0)}"


def _unknown_field(loc: tuple[int | str, ...], known: Sequence[str], place: str) -> str:
    name = str(loc[-1])
    return (
        f"{_path(place, loc[:-1]) or 'the document'} has the unknown field {name}: remove it, or look for a typing "
        f"error{did_you_mean(name, known)}; known are {', '.join(sorted(known))}"
    )


def _own_message(path: str, message: str, known: Sequence[str]) -> str:
    """A message of our own validators; if it begins with a field of the object at ``path``, that joins the path."""
    if path == "the document":
        return message
    begins_with_field = re.split(r"[ .\[]", message, maxsplit=1)[0] in known
    return f"{path}{'.' if begins_with_field else ': ' if known else ' '}{message}"


def _path(place: str, loc: Sequence[int | str]) -> str:
    path = place
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _bound(detail: ErrorDetails, is_setting: bool) -> str | None:
    """``at least 1``; None if no bound was broken."""
    words = _BOUNDS.get(detail["type"])
    if words is None:
        return None
    (value,) = detail["ctx"].values()
    return (
        f"{words} {value:g}"
        if isinstance(value, float) and value.is_integer() and value
        else f"{words} {value}"
    )


def _range(field: FieldInfo | None) -> str | None:
    """``from 0 to 1``, if the field has both bounds."""
    bounds: dict[str, Any] = {}
    for entry in field.metadata if field is not None else ():
        for name in ("ge", "le"):
            if hasattr(entry, name):
                bounds[name] = getattr(entry, name)
    return f"from {bounds['ge']:g} to {bounds['le']:g}" if len(bounds) == 2 else None


def _requirement(detail: ErrorDetails) -> str:
    """Description of the expected value: ``a whole number``, ``one of a, b``."""
    fault, context = detail["type"], detail.get("ctx", {})
    if fault in ("literal_error", "enum"):
        return f"one of {_listed(context['expected'])}"
    if fault in _LENGTHS:
        return _LENGTHS[fault].format(**context)
    kind = fault.removesuffix("_parsing").removesuffix("_type")
    return _KINDS.get(kind) or detail["msg"].removeprefix("Input should be ")


def _listed(expected: str) -> str:
    """``auto, cpu`` for pydantic's ``'auto' or 'cpu'``."""
    return ", ".join(re.findall(r"'([^']*)'", expected)) or expected.replace(" or ", ", ")


def _name_of_type(value: object) -> str:
    if value is None:
        return "null"
    return _TYPES.get(type(value).__name__, type(value).__name__)


def _fields(kind: object) -> dict[str, FieldInfo | None]:
    """Fields of a model or dataclass by the name that a document has for them; empty for other types."""
    kind = _plain(kind)
    found: Mapping[str, FieldInfo] | None = getattr(kind, "__pydantic_fields__", None)
    if found is not None:
        return {_alias(field) or name: field for name, field in found.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {field.name: None for field in dataclasses.fields(kind)}
    return {}


def _alias(field: FieldInfo) -> str | None:
    return field.validation_alias if isinstance(field.validation_alias, str) else None


def _plain(kind: object) -> object:
    """``kind`` without Annotated and ``| None``."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _plain(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return _plain(next(entry for entry in typing.get_args(kind) if entry is not types.NoneType))
    return kind


def _type_at(kind: object, loc: Sequence[int | str]) -> object:
    """The type that a document of type ``kind`` has at ``loc``; None if that cannot be told."""
    for part in loc:
        kind = _plain(kind)
        arguments = typing.get_args(kind)
        if isinstance(part, int):
            several = typing.get_origin(kind) is tuple and Ellipsis not in arguments
            kind = arguments[part if several else 0] if arguments else None
        elif len(arguments) == 2:  # a mapping
            kind = arguments[1]
        else:
            kind = _annotation(kind, part)
    return kind


def _annotation(kind: object, name: str) -> object:
    field = _fields(kind).get(name)
    if field is not None:
        return field.annotation
    return typing.get_type_hints(kind).get(name) if isinstance(kind, type) and name in _fields(kind) else None


def _field_at(kind: object, loc: Sequence[int | str]) -> FieldInfo | None:
    return _fields(_type_at(kind, loc[:-1])).get(str(loc[-1])) if loc else None


_MISSING = (
    "missing",
    "missing_argument",
    "missing_keyword_only_argument",
    "missing_positional_only_argument",
)
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "above",
    "less_than_equal": "at most",
    "less_than": "below",
}
_LENGTHS = {
    "too_short": "at least {min_length} long",
    "too_long": "at most {max_length} long",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}
_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "int_from_float": "a whole number",
    "float": "a number",
    "string": "a string",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "an object",
    "mapping": "an object",
    "model": "an object with named fields",
    "model_attributes": "an object with named fields",
    "dataclass": "an object with named fields",
    "dataclass_exact": "an object with named fields",
}
_TYPES = {
    "str": "a string", "dict": "an object", "list": "a list", "bool": "true or false", "float": "a number",
    "int": "a number",
}  # fmt: skip
