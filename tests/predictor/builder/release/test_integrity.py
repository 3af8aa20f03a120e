from __future__ import annotations

from pathlib import Path

import pytest

from predictor.builder.progress import SilentReporter
from predictor.builder.release.integrity import find_faults
from protocol import integrity
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from tests.predictor.builder.checkpoints import build, edit_json


@pytest.fixture
def release(checkpoint: Path, tmp_path: Path) -> Path:
    build(checkpoint, tmp_path / "release")
    return tmp_path / "release"


def test_fresh_release_has_no_faults(release: Path) -> None:
    assert find_faults(release, SilentReporter()) == ()


def test_reports_and_plans_may_be_added(release: Path) -> None:
    for folder in ("reports", "plans"):
        (release / folder).mkdir()
        (release / folder / "x.json").write_text("{}")
    assert find_faults(release, SilentReporter()) == ()


def test_changed_byte_is_found(release: Path) -> None:
    with (release / "weights.bin").open("r+b") as file:
        file.write(b"\xff")
    (fault,) = find_faults(release, SilentReporter())
    assert fault.startswith("weights.bin has changed")


def test_missing_and_foreign_files_are_found(release: Path) -> None:
    (release / "tokenizer" / "tokenizer.json").unlink()
    (release / "notes.txt").write_text("")
    faults = find_faults(release, SilentReporter())
    assert faults == ("tokenizer/tokenizer.json is missing", "notes.txt is not a file of this release")


def test_id_that_is_not_that_of_the_files_is_found(release: Path) -> None:
    edit_json(release / "release.json", id="0" * 16)
    (fault,) = find_faults(release, SilentReporter())
    assert "id 0000000000000000" in fault


def test_a_verified_release_is_not_hashed_again_until_it_changes(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "LARGE_BYTES", 1_000)
    monkeypatch.setattr(integrity, "SETTLED_NS", 0)
    assert find_faults(release, SilentReporter()) == ()
    assert find_faults(release, SilentReporter()) == (), "stamps are no foreign files"
    (weights,) = integrity.release_files(release, load_release(release), "weights.bin")
    stamps = [release / integrity.STAMPS_DIR]
    with monkeypatch.context() as patched:
        patched.setattr(integrity, "file_digest", lambda path: pytest.fail("hashed again"))
        integrity.check_file(weights, stamps)
    with weights.path.open("r+b") as file:
        file.write(b"\xff")
    with pytest.raises(ReleaseError, match="has changed"):
        integrity.check_file(weights, stamps)
