"""`yiwen keys`: makes, lists and revokes API keys in the file that YIWEN_API_KEYS_FILE names.

The file holds hashes. A key is printed once, when it is made.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from rich.table import Table
from typer import Argument, Option

from cli.tables import print_table
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app
from protocol.files import write_atomically
from transformer.callers.key_file import ApiKey, KeyFile, KeyFileError, format_keys, new_key, read_keys

FILE_VARIABLE = "YIWEN_API_KEYS_FILE"
_File = Annotated[Path | None, Option("--file", metavar="FILE", help=f"file of keys ({FILE_VARIABLE})")]

app = new_app("Make, list and revoke API keys.")


@dataclass(frozen=True, kw_only=True)
class CreateOptions:
    """Options of `yiwen keys create`."""

    name: Annotated[str, Argument(metavar="NAME", help="whose key it is")]
    file: _File = None
    characters_per_month: Annotated[int | None, Option(metavar="N", min=0, help="quota of characters")] = None
    requests_per_second: Annotated[float | None, Option(metavar="N", help="rate of requests")] = None
    priority: Annotated[int, Option(metavar="N", min=1, max=100, help="share in the fair queue")] = 1
    languages: Annotated[str, Option(metavar="TAGS", help="targets allowed, separated by commas (all)")] = ""
    json: Annotated[bool, Option("--json", help="print JSON")] = False


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of `yiwen keys list`."""

    file: _File = None
    json: Annotated[bool, Option("--json", help="print JSON")] = False


@dataclass(frozen=True, kw_only=True)
class RevokeOptions:
    """Options of `yiwen keys revoke`."""

    id: Annotated[str, Argument(metavar="ID", help="of the key, as `yiwen keys list` shows it")]
    file: _File = None


def create(options: CreateOptions) -> int:
    """Add a key and print it; returns the exit code."""
    if options.requests_per_second is not None and options.requests_per_second <= 0:
        return fail("keys create", "--requests-per-second must be more than 0", UNUSABLE)
    made = new_key()
    key = ApiKey(
        id=made.id,
        sha256=made.sha256,
        name=options.name,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        characters_per_month=options.characters_per_month,
        requests_per_second=options.requests_per_second,
        priority=options.priority,
        languages=tuple(tag.strip() for tag in options.languages.split(",") if tag.strip()),
    )
    try:
        path = _path(options.file)
        keys = read_keys(path).keys if path.exists() else ()
        _write(path, (*keys, key))
    except KeyFileError as error:
        return fail("keys create", error, UNUSABLE)
    if options.json:
        print(json.dumps({"id": made.id, "key": made.secret, "name": options.name}, ensure_ascii=False))
    else:
        print(made.secret)
        print(f"{made.id}: keep the key, it is shown once", file=sys.stderr)
    return 0


def list_keys(options: ListOptions) -> int:
    """Print the keys without their hashes; returns the exit code."""
    try:
        keys = read_keys(_path(options.file)).keys
    except KeyFileError as error:
        return fail("keys list", error, UNUSABLE)
    if options.json:
        print(json.dumps([_shown(key) for key in keys], ensure_ascii=False))
        return 0
    table = Table()
    for column in (
        "id",
        "name",
        "created",
        "characters a month",
        "requests/s",
        "priority",
        "languages",
        "state",
    ):
        table.add_column(column)
    for key in keys:
        limits = (key.characters_per_month, key.requests_per_second)
        cells = map(_limit, limits)
        state = "revoked" if key.revoked else "valid"
        languages = ", ".join(key.languages) or "all"
        table.add_row(key.id, key.name, key.created_at, *cells, str(key.priority), languages, state)
    print_table(table)
    return 0


def revoke(options: RevokeOptions) -> int:
    """Revoke a key; returns the exit code."""
    try:
        path = _path(options.file)
        keys = read_keys(path).keys
        if options.id not in [key.id for key in keys]:
            return fail("keys revoke", f"there is no key {options.id}: see `yiwen keys list`", FAILED)
        revoked = [dataclasses.replace(key, revoked=True) if key.id == options.id else key for key in keys]
        _write(path, revoked)
    except KeyFileError as error:
        return fail("keys revoke", error, UNUSABLE)
    print(f"{options.id} is revoked", file=sys.stderr)
    return 0


def _path(given: Path | None) -> Path:
    named = given or os.environ.get(FILE_VARIABLE)
    if not named:
        raise KeyFileError(f"name the file of keys: --file, or {FILE_VARIABLE}")
    return Path(named)


def _write(path: Path, keys: tuple[ApiKey, ...] | list[ApiKey]) -> None:
    try:
        write_atomically(path, format_keys(KeyFile(keys=tuple(keys))))
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error


def _limit(limit: float | None) -> str:
    return "no limit" if limit is None else f"{limit:,}"


def _shown(key: ApiKey) -> dict[str, object]:
    document = {name: getattr(key, name) for name in ApiKey.__dataclass_fields__ if name != "sha256"}
    return {**document, "languages": list(key.languages)}


add_command(app, "create", create, CreateOptions, help="make a key and print it")
add_command(app, "list", list_keys, ListOptions, help="show the keys, without the keys themselves")
add_command(app, "revoke", revoke, RevokeOptions, help="refuse a key from now on")
