"""`yiwen keys`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.__main__ import main
from transformer.callers.key_ring import KeyRing


def create(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    assert main(["keys", "create", "weblate", "--file", str(path), "--json", *options]) == 0
    made: dict[str, str] = json.loads(capsys.readouterr().out)
    return made


def test_a_key_is_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    made = create(
        path, capsys, "--characters-per-month", "1000000", "--languages", "zh, en", "--priority", "2"
    )
    found = KeyRing(path).find(made["key"])
    assert found is not None
    assert (found.id, found.name, found.characters_per_month) == (made["id"], "weblate", 1_000_000)
    assert (found.languages, found.priority) == (("zh", "en"), 2)
    assert main(["keys", "list", "--file", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "1,000,000" in shown
    assert made["key"] not in shown
    assert found.sha256 not in shown
    assert main(["keys", "revoke", made["id"], "--file", str(path)]) == 0
    assert KeyRing(path).find(made["key"]) is None
    capsys.readouterr()
    assert main(["keys", "list", "--file", str(path), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["revoked"]) == (made["id"], True)
    assert "sha256" not in listed


def test_keys_are_added_to_those_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    first, second = create(path, capsys), create(path, capsys)
    ring = KeyRing(path)
    assert ring.find(first["key"]) is not None
    assert ring.find(second["key"]) is not None


def test_the_file_may_be_named_by_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YIWEN_API_KEYS_FILE", raising=False)
    assert main(["keys", "list"]) == 2
    assert "YIWEN_API_KEYS_FILE" in capsys.readouterr().err
    monkeypatch.setenv("YIWEN_API_KEYS_FILE", str(tmp_path / "keys.json"))
    assert main(["keys", "list"]) == 2
    assert main(["keys", "create", "a"]) == 0
    assert capsys.readouterr().out.startswith("yw-")


def test_an_unknown_key_cannot_be_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path / "keys.json", capsys)
    assert main(["keys", "revoke", "other", "--file", str(tmp_path / "keys.json")]) == 1


def test_a_broken_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys.json").write_text("{")
    assert main(["keys", "create", "a", "--file", str(tmp_path / "keys.json")]) == 2
    assert (tmp_path / "keys.json").read_text() == "{"
