"""Atomic publication of a directory: it is written beside the target and renamed.

The temporary directory is named after its content, so that a repeated command resumes an interrupted one; leftovers
of other interrupted commands with the same target are removed. The directory is locked while a command runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from predictor.builder.disk import megabytes, target_error
from predictor.builder.errors import BuildError, DiskFull, TargetUnusable, TransferFailed
from protocol.files import sync
from protocol.release import RELEASE_FILE
from protocol.release_documents import ReleaseError


@contextmanager
def staged(target: Path, key: str, *, needed: int, force: bool) -> Iterator[Path]:
    """A temporary directory that is renamed to ``target`` at the end of the block.

    After an error it is removed; after a kill, Ctrl-C or a failed transfer it stays, and the next command with
    ``key`` resumes it.

    Args:
        target: absolute path of the release, or of a checkpoint that is fetched.
        key: identifies the content; commands with the same key write the same bytes.
        needed: its size in bytes.
        force: replace a release that is there.

    Raises:
        TargetUnusable: the target exists (with ``force``: and is no release), cannot be written, or is being built.
        DiskFull: there is too little space, found now or while writing.
    """
    check_target(target, force=force)
    directory = target.with_name(f"{_prefix(target)}{key}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for leftover in _leftovers(target):
            _remove_unless_locked(leftover, keep=leftover == directory)
        directory.mkdir(exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise _target_error(target, error, needed) from error
    try:
        _lock(lock, directory)
        _check_room(target, needed, directory)
        yield directory
        _publish(directory, target)
    except TransferFailed:
        raise
    except (BuildError, ReleaseError):
        shutil.rmtree(directory, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise _target_error(target, error, needed) from error
    finally:
        os.close(lock)


@contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """A directory beside the target for what a build needs on its way; a later build removes what a killed one left.

    Args:
        target: absolute path of the release.

    Raises:
        TargetUnusable: another command uses it, or it cannot be made.
    """
    directory = target.with_name(f".{target.name}.calibration")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise _target_error(target, error, 0) from error
    try:
        _lock(lock, directory)
        for leftover in directory.iterdir():
            shutil.rmtree(leftover)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)


def check_target(target: Path, *, force: bool) -> None:
    """Check that a release may be written to ``target``.

    Raises:
        TargetUnusable: it exists and must not be replaced.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not force:
        raise TargetUnusable(f"{target} exists: choose another directory, or replace it with --force")
    if not (target / RELEASE_FILE).is_file() or target.is_symlink():
        raise TargetUnusable(f"{target} exists and is not a release: --force replaces releases only")


def _sync_directory(directory: Path) -> None:
    """Flush ``directory`` and everything below it to the disk."""
    for path in (*directory.rglob("*"), directory):
        sync(path)


def _prefix(target: Path) -> str:
    return f".{target.name}.building-"


def _leftovers(target: Path) -> list[Path]:
    prefixes = (_prefix(target), f".{target.name}.replaced-")
    return [path for path in target.parent.iterdir() if path.name.startswith(prefixes)]


def _remove_unless_locked(directory: Path, *, keep: bool) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
        if not keep:
            shutil.rmtree(directory)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TargetUnusable(f"another command is writing {directory}: wait for it, or stop it") from error


def _publish(directory: Path, target: Path) -> None:
    """Rename the directory to the target; an old release is renamed before and removed afterwards."""
    _sync_directory(directory)
    aside = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    if target.exists():
        target.rename(aside)
    try:
        directory.rename(target)
    except OSError:
        with suppress(FileNotFoundError):
            aside.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _check_room(target: Path, needed: int, directory: Path) -> None:
    """Check the free space; files that an interrupted build left in ``directory`` count as written."""
    present = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    free = shutil.disk_usage(target.parent).free
    if needed - present > free:
        raise DiskFull(
            f"{target.parent} has {megabytes(free)} free, but {target.name} needs {megabytes(needed - present)}: "
            "make room, or choose another directory"
        )


def _target_error(target: Path, error: OSError, needed: int) -> TargetUnusable:
    needs = f"{target.name} needs {megabytes(needed)}"
    return target_error(target, error, needs=needs, fix="make room, or choose another directory")
