"""The file of API keys: JSON that holds hashes of keys, never keys.

::

    {"schema": 1, "keys": [{"id": "k1a2b3", "name": "weblate", "sha256": "...", "created_at": "2026-11-28T12:00:00Z",
     "characters_per_month": 1000000, "requests_per_second": 10, "priority": 2, "languages": ["zh"],
     "glossary": {"terms": {"shirt": "衬衫"}}, "revoked": false}]}

A key is 32 random bytes, so that a plain SHA-256 of it cannot be reversed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass as validated

from protocol.errors import YiwenError
from protocol.glossary import parse_glossary
from protocol.validation import STRICT, validate_json

KEY_SCHEMA = 1
_PREFIX = "yw-"


class KeyFileError(Exception):
    """A file of keys cannot be read or used. The message names the file and the fault."""


@validated(frozen=True, slots=True, config=STRICT)
class ApiKey:
    """One caller's key and what it may do."""

    id: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,64}$")]
    """Shown in logs and metrics."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the key, hexadecimal."""
    name: str = ""
    created_at: str = ""
    """ISO 8601."""
    characters_per_month: Annotated[int, Field(ge=0)] | None = None
    """Characters of texts in a calendar month (UTC); None for no limit."""
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    """Requests, with bursts of as many; None for no limit."""
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    """Weight in the fair queue: one of 2 gets twice the share of one of 1."""
    languages: tuple[str, ...] = ()
    """Tags of the target languages that are allowed; empty for all."""
    glossary: Mapping[str, Any] | None = None
    """Applied to requests that bring none, in the form of the parameter ``glossary``."""
    revoked: bool = False


@validated(frozen=True, slots=True, config=STRICT)
class KeyFile:
    """A file of keys."""

    keys: tuple[ApiKey, ...] = ()
    schema: int = KEY_SCHEMA


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; :attr:`secret` is shown once and kept nowhere."""

    secret: str
    id: str
    sha256: str


def read_keys(path: Path) -> KeyFile:
    """Read a file of keys.

    Raises:
        KeyFileError: it cannot be read, or is no such file.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    found = validate_json(KeyFile, text, place=path.name, error=KeyFileError)
    if found.schema != KEY_SCHEMA:
        raise KeyFileError(f"{path}: its schema must be {KEY_SCHEMA}")
    for key in found.keys:
        _check_glossary(path, key)
    for field in ("id", "sha256"):
        values = [getattr(key, field) for key in found.keys]
        if len(set(values)) != len(values):
            raise KeyFileError(f"{path}: two keys have one {field}")
    return found


def _check_glossary(path: Path, key: ApiKey) -> None:
    try:
        if key.glossary is not None:
            parse_glossary(json.dumps(key.glossary))
    except YiwenError as error:
        raise KeyFileError(f"{path}: key {key.id}: {error.message}") from error


def format_keys(file: KeyFile) -> str:
    """The text of a file of keys; fields with their default are left out."""
    plain = ApiKey(id="x", sha256="0" * 64)
    names = list(ApiKey.__dataclass_fields__)
    keys = [
        {name: getattr(key, name) for name in names if getattr(key, name) != getattr(plain, name)}
        for key in file.keys
    ]
    return json.dumps({"schema": KEY_SCHEMA, "keys": keys}, ensure_ascii=False, indent=2) + "\n"


def new_key() -> NewKey:
    """A random key."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    return NewKey(secret, "k" + secrets.token_hex(4), hash_key(secret))


def hash_key(secret: str) -> str:
    """The hash of a key, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()
