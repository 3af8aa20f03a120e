"""One run of the tests, whose processes work in namespaces of their own: its label, and what is done once for all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

OWN_LABEL = "yiwen-cluster-test"
"""Label of what the tests make in a cluster; its value says which run."""
DIRECTORY_VARIABLE = "CLUSTER_RUN_DIRECTORY"


def begin_run() -> None:
    """Make the directory that the processes of this run share; they inherit its name."""
    os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="yiwen-cluster-")


def end_run() -> None:
    """Remove the directory."""
    if directory := os.environ.pop(DIRECTORY_VARIABLE, ""):
        shutil.rmtree(directory, ignore_errors=True)


def run_id() -> str:
    """A value for labels that no other run has."""
    return sha256(str(_directory()).encode()).hexdigest()[:8]


def once_per_run(what: str, work: Callable[[], None]) -> None:
    """Do something unless a process of this run has done it; others wait meanwhile.

    Args:
        what: is done, as a name.
        work: does it; what raises was not done.
    """
    done = _directory() / sha256(what.encode()).hexdigest()
    with done.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            work()
            done.touch()


def _directory() -> Path:
    if DIRECTORY_VARIABLE not in os.environ:  # a benchmark, which is one process
        begin_run()
    return Path(os.environ[DIRECTORY_VARIABLE])
