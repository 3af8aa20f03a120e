from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from predictor.builder.errors import BuildError, DiskFull, TargetUnusable
from predictor.builder.release.staging import staged


def fill(target: Path, content: str = "new", *, key: str = "a", force: bool = False) -> None:
    with staged(target, key, needed=100, force=force) as directory:
        (directory / "release.json").write_text(content)


def leave(target: Path, key: str, error: BaseException) -> None:
    """Write something, then end with ``error``."""
    with staged(target, key, needed=1, force=False) as directory:
        (directory / "weights.bin").write_text("x")
        raise error


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "releases" / "one"


def test_directory_appears_when_the_block_ends(target: Path) -> None:
    with staged(target, "a", needed=1, force=False) as directory:
        (directory / "release.json").write_text("{}")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["release.json"]
    assert list(target.parent.iterdir()) == [target]


def test_error_leaves_nothing(target: Path) -> None:
    with pytest.raises(BuildError, match="no"):
        leave(target, "a", BuildError("no"))
    assert list(target.parent.iterdir()) == []


def test_interrupt_leaves_the_pieces_to_the_next_build_of_the_same(target: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        leave(target, "a", KeyboardInterrupt())
    assert not target.exists()
    with staged(target, "a", needed=1, force=False) as directory:
        assert (directory / "weights.bin").read_text() == "x"


def test_leftovers_of_other_builds_are_removed(target: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        leave(target, "other", KeyboardInterrupt())
    assert len(list(target.parent.iterdir())) == 1
    fill(target)
    assert list(target.parent.iterdir()) == [target]


def test_existing_release_is_replaced_only_by_force(target: Path) -> None:
    fill(target, "old")
    with pytest.raises(TargetUnusable, match="--force"):
        fill(target)
    assert (target / "release.json").read_text() == "old"
    fill(target, force=True)
    assert (target / "release.json").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_force_never_replaces_what_is_no_release(target: Path) -> None:
    target.mkdir(parents=True)
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(TargetUnusable, match="not a release"):
        fill(target, force=True)
    assert (target / "thesis.txt").exists()


def test_two_builds_of_one_target_do_not_meet(target: Path) -> None:
    with staged(target, "a", needed=1, force=False):
        for key in ("a", "b"):
            with pytest.raises(TargetUnusable, match="another command"):
                fill(target, key=key)


def test_target_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetUnusable, match="cannot be written"):
        fill(tmp_path / "file" / "release")


def test_too_little_disk_space_is_reported_before_anything_is_written(target: Path) -> None:
    with pytest.raises(DiskFull, match=r"free, but .* needs"):
        with staged(target, "a", needed=1 << 60, force=False):
            pytest.fail("started without room")
    assert list(target.parent.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_is_reported_with_its_sizes(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    lies = iter([real("/")])  # somebody else fills the disk after it was checked
    monkeypatch.setattr(shutil, "disk_usage", lambda path: next(lies, None) or real(path))
    with pytest.raises(DiskFull, match=r"needs 1\.0 MB, and without it 0\.1 MB are free"):
        with staged(small_disk / "release", "a", needed=1_000_000, force=False) as directory:
            (directory / "weights.bin").write_bytes(os.urandom(1_000_000))
    assert list(small_disk.iterdir()) == []
