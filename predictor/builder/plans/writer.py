"""A plan's file: the offsets in it, and its atomic publication.

The file is written under a temporary name, synced and renamed. Its JSON, by which readers find it, is written last.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from predictor.builder.disk import megabytes, target_error
from predictor.builder.errors import DiskFull, TargetUnusable
from predictor.builder.parallel import BackgroundDigest
from predictor.builder.plans.source import PlanTensorSpec
from predictor.plan import PlanBlob, PlanTensor, TensorRTPlan, align, plan_json_path, plan_path, write_plan

ENGINES_RESERVE = 256 << 20
"""Bytes reserved for engines, whose size is unknown until they are built; they hold no weights."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets and sizes in a plan file."""

    engines: Mapping[str, PlanBlob]
    tensors: Mapping[str, PlanTensor]
    tensors_offset: int
    nbytes: int


def lay_out(engines: Mapping[str, int], tensors: Iterable[PlanTensorSpec]) -> Layout:
    """The layout of a plan file: engines, then tensors, each at a multiple of :data:`predictor.plan.ALIGNMENT`.

    Args:
        engines: sizes in bytes by name, in order.
        tensors: in order.
    """
    blobs: dict[str, PlanBlob] = {}
    places: dict[str, PlanTensor] = {}
    end = 0
    for name, nbytes in engines.items():
        blobs[name] = PlanBlob(align(end), nbytes)
        end = blobs[name].offset + nbytes
    tensors_offset = end = align(end)
    for tensor in tensors:
        places[tensor.name] = PlanTensor(align(end), tensor.shape, tensor.dtype)
        end = places[tensor.name].offset + tensor.nbytes
    return Layout(blobs, places, tensors_offset, end)


class PlanFile:
    """A plan file that is written sequentially."""

    def __init__(self, file: BinaryIO, digest: BackgroundDigest) -> None:
        """Write to ``file`` and add every byte to ``digest``."""
        self._file = file
        self._digest = digest
        self._end = 0

    def seek(self, offset: int) -> None:
        """Pad with zeros up to ``offset``, which must not be behind."""
        self.write(bytes(offset - self._end))

    def write(self, content: bytes | memoryview) -> None:
        """Append ``content``, which must not change afterwards."""
        self._digest.update(content)
        self._file.write(content)
        self._end += memoryview(content).nbytes


def check_absent(path: Path, *, force: bool) -> None:
    """Check that a plan may be written to ``path``.

    Raises:
        TargetUnusable: there is one, and ``force`` is false.
    """
    if path.with_name(f"{path.name}.json").exists() and not force:
        raise TargetUnusable(f"{path} exists: replace it with --force")


@contextmanager
def staged_plan(path: Path, *, tensor_bytes: int, force: bool) -> Iterator[BinaryIO]:
    """A temporary file for the plan at ``path``. It is removed, unless :func:`publish` renamed it.

    Args:
        path: of the plan.
        tensor_bytes: size of the plan without engines.
        force: replace a plan that is there.

    Raises:
        TargetUnusable: there is a plan, it cannot be written, or another build is writing it.
        DiskFull: there is too little space, found now or while writing.
    """
    check_absent(path, force=force)
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as file:
            _lock(file, partial)
            file.truncate(0)
            _check_room(path, tensor_bytes)
            try:
                yield file
            finally:
                _remove(partial, file)
    except OSError as error:
        raise _target_error(path, error, tensor_bytes) from error


def publish(directory: Path, plan: TensorRTPlan, file: BinaryIO) -> None:
    """Publish a plan: readers find the old one, none, or the new one, never a mixture.

    Args:
        directory: of the release.
        plan: what the file holds.
        file: of :func:`staged_plan`, fully written.
    """
    path = plan_path(directory, plan.key)
    file.flush()
    os.fsync(file.fileno())
    plan_json_path(directory, plan.key).unlink(missing_ok=True)
    os.replace(_partial(path), path)
    write_plan(directory, plan)


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _remove(partial: Path, file: BinaryIO) -> None:
    """Remove the temporary file, unless it was published and another build has created a new one."""
    with suppress(FileNotFoundError):
        if os.path.samestat(partial.stat(), os.fstat(file.fileno())):
            partial.unlink()


def _lock(file: BinaryIO, partial: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TargetUnusable(f"another build is writing {partial}: wait for it, or stop it") from error


def _check_room(path: Path, tensor_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if tensor_bytes + ENGINES_RESERVE > free:
        raise DiskFull(
            f"{path.parent} has {megabytes(free)} free, but the plan needs {_needs(tensor_bytes)}: make room"
        )


def _target_error(path: Path, error: OSError, tensor_bytes: int) -> TargetUnusable:
    return target_error(path, error, needs=f"the plan needs {_needs(tensor_bytes)}", fix="make room")


def _needs(tensor_bytes: int) -> str:
    total, reserve = tensor_bytes + ENGINES_RESERVE, ENGINES_RESERVE
    return f"{megabytes(total)} ({megabytes(tensor_bytes)} of weights, {megabytes(reserve)} kept for engines)"
