"""Integrity check of a release: the digest of every file, and the id over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from predictor.builder.progress import Reporter
from predictor.plan import find_plans, plan_path
from protocol.integrity import STAMPS_DIR, file_digest, file_identity, leave_stamp
from protocol.release import PLANS_DIR, RELEASE_FILE, REPORTS_DIR, load_release, release_id

_ADDED_LATER = (PLANS_DIR, REPORTS_DIR)
"""Folders that are written after the build, and so have no digests in release.json."""


def find_faults(directory: Path, reporter: Reporter) -> tuple[str, ...]:
    """The faults of a release's files, one line each; empty for an intact release.

    Raises:
        ReleaseError: release.json itself cannot be read.
    """
    release = load_release(directory)
    stamps = directory / STAMPS_DIR
    faults, digests = [], {}
    present = {name for name in release.files if (directory / name).is_file()}
    reporter.begin("verify files", sum((directory / name).stat().st_size for name in present))
    for name, wanted in sorted(release.files.items()):
        if name not in present:
            faults.append(f"{name} is missing")
            continue
        digests[name] = _digest(directory / name, wanted, stamps)
        reporter.advance((directory / name).stat().st_size, name)
        if digests[name] != wanted:
            faults.append(f"{name} has changed: sha256 is {digests[name]}, release.json says {wanted}")
    faults += [f"{name} is not a file of this release" for name in _unexpected(directory, set(release.files))]
    if not faults and release_id(digests, release.precision) != release.id:
        faults.append(f"release.json says id {release.id}, but its files give another one")
    return (*faults, *_plan_faults(directory, reporter))


def _plan_faults(directory: Path, reporter: Reporter) -> Iterator[str]:
    for plan in find_plans(directory):
        path = plan_path(directory, plan.key)
        reporter.begin(f"verify plan {plan.key.name}", plan.nbytes)
        found = _digest(path, plan.sha256, directory / STAMPS_DIR)
        reporter.advance(plan.nbytes)
        if found != plan.sha256:
            yield f"{path.name} has changed: sha256 is {found}, its .json says {plan.sha256}"


def _digest(path: Path, wanted: str, stamps: Path) -> str:
    """A file's sha256; where it is ``wanted``, a stamp spares the predictors of hashing a large file again."""
    before = file_identity(path)
    found = file_digest(path)
    if found == wanted:
        leave_stamp(stamps, found, before, file_identity(path))
    return found


def _unexpected(directory: Path, known: set[str]) -> list[str]:
    names = (path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file())
    return [
        name.as_posix()
        for name in names
        if name.as_posix() not in known | {RELEASE_FILE} and name.parts[0] not in _ADDED_LATER
    ]
