"""Error messages for a target that cannot be written, shared by releases and plans."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from predictor.builder.errors import DiskFull, TargetUnusable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def megabytes(count: int) -> str:
    """A number of bytes in megabytes, for messages."""
    return f"{count / 1e6:,.1f} MB"


def target_error(path: Path, error: OSError, *, needs: str, fix: str) -> TargetUnusable:
    """The builder's error for an ``OSError``, to be made after the partial output was removed.

    Args:
        path: what could not be written.
        error: the cause.
        needs: how much space is needed for what, e.g. ``the plan needs 14 MB``.
        fix: what to do where the disk is full.
    """
    if error.errno not in _FULL:
        return TargetUnusable(f"{path} cannot be written: {error.strerror or error}")
    free = megabytes(shutil.disk_usage(path.parent).free)
    return DiskFull(
        f"{path} cannot be written: {error.strerror}; {needs}, and without it {free} are free: {fix}"
    )
