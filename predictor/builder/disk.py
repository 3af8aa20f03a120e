"""What is said when a target cannot be written: one wording for releases and for plans."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from predictor.builder.errors import DiskFull, TargetUnusable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def megabytes(count: int) -> str:
    """Bytes, for people."""
    return f"{count / 1e6:,.1f} MB"


def target_error(path: Path, error: OSError, *, needs: str, way_out: str) -> TargetUnusable:
    """The error to raise for one of the operating system, made once what was written is gone again.

    Args:
        path: what could not be written.
        error: why.
        needs: what needs how much room, as ``the plan needs 14 MB``.
        way_out: what helps where the disk is full.
    """
    if error.errno not in _FULL:
        return TargetUnusable(f"{path} cannot be written: {error.strerror or error}")
    free = megabytes(shutil.disk_usage(path.parent).free)
    return DiskFull(
        f"{path} cannot be written: {error.strerror}; {needs}, and without it {free} are free: {way_out}"
    )
