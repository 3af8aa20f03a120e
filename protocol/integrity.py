"""Digest checks of a release's files before they are served.

A large file is read and hashed in a thread while a runner loads it; hashlib releases the interpreter lock. Once a
large file was found intact, a *stamp* records its identity (inode, size, times of change), and as long as that is the
same, the file is not hashed again. Any write to a file changes the identity.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocol.files import write_atomically
from protocol.release import Release, ReleaseError, release_id

BLOCK_BYTES = 4 << 20
"""Bytes of one read; hashing it takes some 3 ms, in which other threads run."""
LARGE_BYTES = 16 << 20
"""Files from here on are hashed beside the load, and get a stamp; smaller ones are hashed before it."""
SETTLED_NS = 2_000_000_000
"""A file that changed this recently gets no stamp: a later write could leave its times as they are."""
STAMPS_DIR = "verified"

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
    """How to get an intact one; ends the message of a failed check."""


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


def check_file(file: CheckedFile, stamps: Path | None = None) -> None:
    """Compare a file with its digest, unless its stamp says that it was intact and has not changed since.

    Args:
        file: to check.
        stamps: folder of the stamps; None neither trusts nor leaves one.

    Raises:
        ReleaseError: it is missing, cannot be read, or has another digest.
    """
    try:
        identity = _identity(file.path)
        stamp = None if stamps is None or identity["size"] < LARGE_BYTES else stamps / file.sha256
        if stamp is not None and _read_stamp(stamp) == identity:
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
    if stamp is not None and identity == _identity(file.path):
        _write_stamp(stamp, identity)


@contextmanager
def checked_beside(files: list[CheckedFile], stamps: Path | None = None) -> Iterator[None]:
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


def _identity(path: Path) -> dict[str, int]:
    """What no write leaves as it is. Not the device, whose number depends on the mount."""
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


def _write_stamp(path: Path, identity: Mapping[str, int]) -> None:
    if time.time_ns() - identity["changed_ns"] < SETTLED_NS:
        return
    with contextlib.suppress(OSError):  # without a stamp the next start reads the file again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(identity))
