from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from protocol.files import sync, write_atomically


@pytest.mark.parametrize(("content", "expected"), [("译文\n", "译文\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_content_replaces_the_old_one(tmp_path: Path, content: bytes | str, expected: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"a longer old content")
    write_atomically(path, content)
    assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_failure_keeps_the_old_file_and_leaves_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "report.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "k.cubin"
    for data in (b"first", b"second"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "k.cubin").mkdir()
    with pytest.raises(OSError, match=r"k\.cubin"):
        write_atomically(tmp_path / "k.cubin", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["k.cubin"]


def test_a_path_that_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")
