"""Digest checks of a release's files before they are served.

A large file is read and hashed in a thread while a runner loads it; hashlib releases the interpreter lock. Once a
large file was found intact, a *stamp* records its identity (inode, size, times of change), and as long as that is the
same, the file is not hashed again. Any write to a file changes the identity. ``yiwen release verify`` leaves stamps
in the release, for all who mount its volume; a start leaves them in a folder of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocol.files import write_atomically
from protocol.release import REPORTS_DIR, Release, release_id
from protocol.release_documents import ReleaseError

BLOCK_BYTES = 4 << 20
"""Bytes of one read; hashing it takes some 3 ms, in which other threads run."""
LARGE_BYTES = 16 << 20
"""Files from here on are hashed beside the load, and get a stamp; smaller ones are hashed before it."""
SETTLED_NS = 2_000_000_000
"""A file that changed this recently gets no stamp: a later write could leave its times as they are."""
STAMPS_DIR = f"{REPORTS_DIR}/verified"
"""Folder of the stamps, in a release and in a predictor's cache directory. A stamp's name is the file's digest."""

logger = logging.getLogger(__name__)


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file and the digest that it must have."""

    path: Path
    sha256: str
    fix: str
    """Instruction at the end of the message of a failed check."""


def release_files(directory: Path, release: Release, *parts: str) -> list[CheckedFile]:
    """Files of a release with their digests.

    Args:
        directory: of the release.
        release: its ``release.json``.
        parts: names of files, or of folders, inside the release. What ``release.json`` does not list is left out; a
            release that was written by hand may list nothing.

    Raises:
        ReleaseError: the id in ``release.json`` is not that of its digests.
    """
    if release.files and release_id(release.files, release.precision) != release.id:
        raise ReleaseError(
            f"{directory}/release.json says id {release.id}, but its digests give another one; "
            "copy the release again, or rebuild it"
        )
    fix = f"copy it again, or rebuild the release (`yiwen release verify {directory}` checks every file)"
    return [
        CheckedFile(directory / name, sha256, fix)
        for name, sha256 in sorted(release.files.items())
        if name in parts or name.split("/")[0] in parts
    ]


def check_file(file: CheckedFile, stamps: Sequence[Path] = ()) -> None:
    """Compare a file with its digest, unless a stamp says that it was intact and has not changed since.

    Args:
        file: to check.
        stamps: folders with stamps, each of which is trusted; a new stamp is written to the last one.

    Raises:
        ReleaseError: it is missing, cannot be read, or has another digest.
    """
    try:
        identity = file_identity(file.path)
        if any(_read_stamp(folder / file.sha256) == identity for folder in stamps):
            return
        started = time.monotonic()
        found = file_digest(file.path)
    except OSError as error:
        raise ReleaseError(f"{file.path} cannot be read: {error}; {file.fix}") from error
    if found != file.sha256:
        raise ReleaseError(f"{file.path} has changed: sha256 is {found}, not {file.sha256}; {file.fix}")
    if identity["size"] >= LARGE_BYTES:
        facts = {"file": file.path.name, "bytes": identity["size"], "seconds": time.monotonic() - started}
        logger.info("file is intact", extra={"fields": facts})
    if stamps:
        leave_stamp(stamps[-1], file.sha256, identity, file_identity(file.path))


@contextmanager
def checked_beside(files: Sequence[CheckedFile], stamps: Sequence[Path] = ()) -> Iterator[None]:
    """Check files while the body of the ``with`` loads them: small ones before it, large ones in a thread beside it.

    Args:
        files: to check; none where the check is off.
        stamps: as for :func:`check_file`.

    Raises:
        ReleaseError: a file is not intact. Takes precedence over an error of the body, which it explains.
    """
    faults: list[ReleaseError] = []
    large = [file for file in files if _is_large(file.path)]
    for file in files:
        if file not in large:
            check_file(file, stamps)

    def check_large() -> None:
        try:
            for file in large:
                check_file(file, stamps)
        except ReleaseError as error:
            faults.append(error)

    thread = threading.Thread(target=check_large, name="integrity")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if faults:
            raise faults[0]


def _is_large(path: Path) -> bool:
    return path.is_file() and path.stat().st_size >= LARGE_BYTES


def file_identity(path: Path) -> dict[str, int]:
    """File attributes that every write changes; without the device, whose number depends on the mount."""
    stat = path.stat()
    return {
        "inode": stat.st_ino,
        "size": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "changed_ns": stat.st_ctime_ns,
    }


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def leave_stamp(folder: Path, sha256: str, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Record that a large file was found intact, unless it changed meanwhile or just before.

    Args:
        folder: of the stamps. One that cannot be written means that the next start reads the file again.
        sha256: the file's.
        before: its identity before it was hashed.
        after: its identity now.
    """
    settled = time.time_ns() - before["changed_ns"] >= SETTLED_NS
    if before == after and settled and before["size"] >= LARGE_BYTES:
        with contextlib.suppress(OSError):
            write_atomically(folder / sha256, json.dumps(before))
