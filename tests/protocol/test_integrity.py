"""A release with one flipped bit, in whatever file: found beside the load, by stamp or by digest."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from protocol import integrity
from protocol.integrity import CheckedFile, check_file, checked_beside, file_digest, release_files
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from tests.releases import build_random_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    build_random_release(tmp_path)
    return tmp_path / "random"


@pytest.fixture
def stamped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckedFile:
    """A file that counts as large, and changed long enough ago to get a stamp."""
    monkeypatch.setattr(integrity, "LARGE_BYTES", 1_000)
    monkeypatch.setattr(integrity, "SETTLED_NS", 0)
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(5_000))
    return CheckedFile(path, hashlib.sha256(path.read_bytes()).hexdigest(), "copy it again")


def flip_bit(path: Path, at: int = -1) -> None:
    """One bit of a file, in place; its time of modification is put back."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_every_file_of_an_intact_release_passes(release: Path) -> None:
    files = release_files(release, load_release(release), *(path.name for path in release.iterdir()))
    assert {str(file.path.relative_to(release)) for file in files} == set(load_release(release).files)
    for file in files:
        check_file(file)


@pytest.mark.parametrize(
    "name", ["weights.bin", "decoder.onnx", "translation.json", "tokenizer/tokenizer.json"]
)
def test_a_flipped_bit_is_an_error_that_names_the_file_and_the_fix(release: Path, name: str) -> None:
    flip_bit(release / name)
    (file,) = release_files(release, load_release(release), name)
    with pytest.raises(ReleaseError, match=rf"{name} has changed: sha256 is .*; copy it again, or rebuild"):
        check_file(file)


def test_a_digest_that_was_changed_or_left_out_is_an_error(release: Path) -> None:
    document = json.loads((release / "release.json").read_text())
    del document["files"]["weights.bin"]
    (release / "release.json").write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match="its digests give another one; copy the release again"):
        release_files(release, load_release(release), "weights.bin")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"cannot be read.*copy it again"):
        check_file(CheckedFile(tmp_path / "weights.bin", "0" * 64, "copy it again"))


def test_a_file_that_has_not_changed_is_hashed_once(
    stamped: CheckedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def count_and_hash(path: Path) -> str:
        hashed.append(path)
        return file_digest(path)

    monkeypatch.setattr(integrity, "file_digest", count_and_hash)
    for _ in range(3):
        check_file(stamped, [tmp_path / "stamps"])
    assert hashed == [stamped.path]
    check_file(stamped)
    assert len(hashed) == 2, "without a folder for stamps each start hashes"


def test_a_stamp_does_not_hide_a_later_change(stamped: CheckedFile, tmp_path: Path) -> None:
    check_file(stamped, [tmp_path / "stamps"])
    flip_bit(stamped.path)
    with pytest.raises(ReleaseError, match="has changed"):
        check_file(stamped, [tmp_path / "stamps"])


def test_a_file_that_is_still_being_written_gets_no_stamp(
    stamped: CheckedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "SETTLED_NS", 60_000_000_000)
    check_file(stamped, [tmp_path / "stamps"])
    assert not (tmp_path / "stamps").exists()


def test_where_no_stamp_can_be_written_the_check_is_done_all_the_same(
    stamped: CheckedFile, tmp_path: Path
) -> None:
    (tmp_path / "stamps").write_text("a file, not a folder")
    check_file(stamped, [tmp_path / "stamps"])


def test_a_large_file_is_hashed_while_the_body_runs(
    stamped: CheckedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = threading.Event()

    def wait_and_hash(path: Path) -> str:
        assert loading.wait(10)
        return file_digest(path)

    monkeypatch.setattr(integrity, "file_digest", wait_and_hash)
    with checked_beside([stamped]):
        loading.set()


def test_a_small_file_is_checked_before_the_body(tmp_path: Path) -> None:
    (tmp_path / "decoder.onnx").write_bytes(b"graph")
    with (
        pytest.raises(ReleaseError, match="has changed"),
        checked_beside([CheckedFile(tmp_path / "decoder.onnx", "0" * 64, "copy it again")]),
    ):
        raise AssertionError("the body ran")


def test_a_broken_file_explains_the_error_of_the_body(stamped: CheckedFile) -> None:
    flip_bit(stamped.path)
    with pytest.raises(ReleaseError, match="has changed") as caught, checked_beside([stamped]):
        raise RuntimeError("cannot be parsed")
    assert isinstance(caught.value.__context__, RuntimeError)
