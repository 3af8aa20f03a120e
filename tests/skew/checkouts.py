"""Another version of Yiwen: a directory that has it already, or a commit that is checked out for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.forkserver import ROOT

SETUP = ("scripts/setup", "cpu")


@contextmanager
def checkout_of(version: str, repository: Path = ROOT) -> Iterator[Path]:
    """A directory with a version of Yiwen and its environment in ``.venv``.

    Args:
        version: a directory, which is taken as it is; or a commit, which is checked out into a temporary folder, with
            an environment made there, and removed with it at the end, whatever ends the block.
        repository: that the commit is in.

    Raises:
        SystemExit: there is no such directory and no such commit, or its environment cannot be made.
    """
    if Path(version).is_dir():
        yield Path(version).resolve()
        return
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{version}^{{commit}}").stdout.strip()
    if not commit:
        raise SystemExit(
            f"{version} is no directory and no commit of {repository}: `git log` lists the commits"
        )
    with tempfile.TemporaryDirectory(prefix="yiwen-checkout-", ignore_cleanup_errors=True) as name:
        checkout = Path(name) / commit[:12]
        try:
            added = _git(repository, "worktree", "add", "--quiet", "--detach", str(checkout), commit)
            if added.returncode:
                raise SystemExit(f"{version} cannot be checked out: {added.stderr.strip()}")
            _set_up(checkout)
            yield checkout
        finally:
            _git(repository, "worktree", "remove", "--force", str(checkout))


def _set_up(checkout: Path) -> None:
    """Make the environment; what is still at it when the block ends is killed, or it would go on writing."""
    environ = {name: value for name, value in os.environ.items() if name != "VENV"}
    with subprocess.Popen(SETUP, cwd=checkout, env=environ, start_new_session=True) as setup:
        try:
            code = setup.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(setup.pid, signal.SIGKILL)
    if code:
        raise SystemExit(f"`{' '.join(SETUP)}` of {checkout.name} ended with {code}")


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(repository), *arguments]
    # A Ctrl-C in the terminal is for this process, not for the git that removes the checkout.
    return subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
