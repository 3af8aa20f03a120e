"""The file of API keys: what it holds, what is refused, and when it is read again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.transformer.clock import StoppedClock
from transformer.callers.key_file import (
    ApiKey,
    KeyFile,
    KeyFileError,
    format_keys,
    hash_key,
    new_key,
    read_keys,
)
from transformer.callers.key_ring import CHECK_S, KeyRing


def write(path: Path, *keys: ApiKey) -> None:
    path.write_text(format_keys(KeyFile(keys=keys)), encoding="utf-8")


def key(secret: str, **more: Any) -> ApiKey:
    return ApiKey(id=f"id-{secret}", sha256=hash_key(secret), **more)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    keys = (
        key(
            "a",
            name="weblate",
            characters_per_month=10,
            requests_per_second=2.5,
            priority=3,
            languages=("zh",),
        ),
        key("b", revoked=True, glossary={"terms": {"shirt": "衬衫"}}),
    )
    write(tmp_path / "keys.json", *keys)
    assert read_keys(tmp_path / "keys.json").keys == keys


def test_new_keys_differ_and_are_not_in_the_file(tmp_path: Path) -> None:
    first, second = new_key(), new_key()
    assert first.secret != second.secret
    write(tmp_path / "keys.json", ApiKey(id=first.id, sha256=first.sha256))
    assert first.secret not in (tmp_path / "keys.json").read_text()


GOOD = {"id": "a", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([{**GOOD, "sha256": "x"}], "sha256"),
        ([{**GOOD, "quota": 1}], "quota"),
        ([{**GOOD, "priority": 0}], "priority"),
        ([GOOD, GOOD], "two keys have one id"),
        ([GOOD, {**GOOD, "id": "b"}], "two keys have one sha256"),
        ([{**GOOD, "glossary": {"words": {}}}], "key a: parameter glossary"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_fault(
    tmp_path: Path, keys: list[dict[str, Any]], words: str
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"schema": 1, "keys": keys}))
    with pytest.raises(KeyFileError, match=r"keys\.json") as caught:
        read_keys(path)
    assert words in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        KeyRing(tmp_path / "keys.json")


def test_a_revoked_key_is_refused_within_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", StoppedClock()
    write(path, key("a"), key("b"))
    ring = KeyRing(path, clock)
    assert ring.find("a") is not None
    assert ring.find("other") is None
    write(path, key("a", revoked=True), key("b"))
    clock.now += CHECK_S
    assert ring.find("a") is None
    assert ring.find("b") is not None


def test_a_replaced_link_of_a_secret_is_read_again(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "new")):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "keys.json", key("ab"[number]))
    os.symlink(tmp_path / "old", tmp_path / "data")
    clock = StoppedClock()
    ring = KeyRing(tmp_path / "data" / "keys.json", clock)
    assert ring.find("a") is not None
    (tmp_path / "data").unlink()
    os.symlink(tmp_path / "new", tmp_path / "data")
    clock.now += CHECK_S
    assert (ring.find("a"), ring.find("b")) == (None, key("b"))


def test_a_file_that_breaks_leaves_the_old_keys(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", StoppedClock()
    write(path, key("a"))
    ring = KeyRing(path, clock)
    path.write_text("{")
    clock.now += CHECK_S
    assert ring.find("a") is not None
    path.unlink()
    clock.now += CHECK_S
    assert ring.find("a") is not None
