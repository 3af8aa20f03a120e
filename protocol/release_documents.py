"""Reads the JSON documents of a release as dataclasses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from protocol.version import package_version

T = TypeVar("T")

STRICT: Final = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
"""pydantic's configuration of the documents: no conversions, no unknown fields. pydantic itself, which is slow to
import, is needed only to read them."""


class ReleaseError(Exception):
    """A release, or a file of one, cannot be used. The message names the file, the fault and the fix."""


RELEASE_FILE = "release.json"


def load_document(kind: type[T], path: Path, *, schemas: Sequence[int], if_missing: str, fix: str) -> T:
    """A JSON document as a dataclass.

    Args:
        kind: with pydantic's configuration.
        path: of the document.
        schemas: numbers that its field ``schema`` may have.
        if_missing: the message where there is no such file.
        fix: ends the messages about its fields, unless another version of Yiwen built the release: then that does.

    Raises:
        ReleaseError: it cannot be read, has another schema, or a field is missing, unknown or of another type.
    """
    from protocol.validation import validate

    document = _read_json(path, if_missing)
    _check_schema(path, document, schemas)
    fields = {name: value for name, value in document.items() if name != "schema"}

    def fault(message: str) -> ReleaseError:
        return ReleaseError(f"{path}: {message}; {of_another_version(path.parent) or fix}")

    return validate(kind, fields, error=fault)


def of_another_version(directory: Path) -> str:
    """What to do with a release that another version built; empty if none did, or if that cannot be told."""
    try:
        builder = json.loads((directory / RELEASE_FILE).read_text("utf-8"))["provenance"]["versions"]["yiwen"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if builder == package_version():
        return ""
    return (
        f"yiwen {builder} built the release, and this is {package_version()}: use that version, "
        "or build the release again with this one"
    )


def _read_json(path: Path, if_missing: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReleaseError(if_missing) from error
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ReleaseError(f"{path} must hold a JSON object, not {type(document).__name__}")
    return document


def _check_schema(path: Path, document: Mapping[str, Any], wanted: Sequence[int]) -> None:
    if document.get("schema") not in wanted:
        raise ReleaseError(
            f"{path} has schema {document.get('schema')!r}, this version reads "
            f"{' and '.join(map(str, wanted))}: "
            "rebuild it, or use the version of yiwen that wrote it"
        )
