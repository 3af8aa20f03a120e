"""Atomic replacement of files: a reader finds the old content or the new one, after a crash too."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file: write a temporary file beside it, flush it to the disk, rename it. Permissions are kept.

    Args:
        path: the file; its directory is created where it does not exist.
        content: bytes, or text that is written as UTF-8.

    Raises:
        OSError: the directory or the file cannot be written; an old file is unchanged, and no temporary file stays.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk.

    Raises:
        OSError: it cannot be opened or flushed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
