"""The checkout of another version: made from a commit, and removed whatever ends its use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forkserver import ROOT
from tests.skew.checkouts import checkout_of

SETUP = """#!/bin/sh
mkdir .venv && echo "$1 ${VENV-none}" > .venv/made
%s
"""
HOLD = """
import sys, time
from pathlib import Path
from tests.skew.checkouts import checkout_of
with checkout_of("HEAD", Path(sys.argv[1])) as checkout:
    print(checkout, flush=True)
    time.sleep(60)
"""


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def repository_with(directory: Path, setup: str) -> Path:
    """A repository with one commit, which holds scripts/setup."""
    script = directory / "scripts" / "setup"
    script.parent.mkdir(parents=True)
    script.write_text(SETUP % setup)
    script.chmod(0o755)
    git(directory, "init", "--quiet")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "--message", "a version")
    return directory


def worktrees(repository: Path) -> int:
    return git(repository, "worktree", "list").count("\n")


def test_a_commit_gets_an_environment_of_its_own_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENV", str(tmp_path / "of-the-caller"))
    repository = repository_with(tmp_path / "repository", "")
    with checkout_of("HEAD", repository) as checkout:
        assert (checkout / ".venv" / "made").read_text() == "cpu none\n"
        assert worktrees(repository) == 2
    assert not checkout.parent.exists()
    assert worktrees(repository) == 1


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    with checkout_of(str(tmp_path)) as checkout:
        assert checkout == tmp_path
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    ("version", "setup", "words"),
    [("HEAD~7", "", "no directory and no commit"), ("HEAD", "exit 3", "ended with 3")],
)
def test_what_cannot_be_checked_out_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, setup: str, words: str
) -> None:
    repository = repository_with(tmp_path / "repository", setup)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with pytest.raises(SystemExit, match=words), checkout_of(version, repository):
        pass
    assert list(folder.iterdir()) == []
    assert worktrees(repository) == 1


@pytest.mark.parametrize("setup", ["", "exec sleep 60"], ids=["in use", "being set up"])
def test_ctrl_c_removes_it(tmp_path: Path, setup: str) -> None:
    repository = repository_with(tmp_path / "repository", setup)
    folder = tmp_path / "temporary"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(repository)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while not list(folder.glob("*/*/.venv/made")):
            assert process.poll() is None
            time.sleep(0.01)
        if not setup:
            assert process.stdout is not None
            assert process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) != 0
    assert list(folder.iterdir()) == []
    assert worktrees(repository) == 1
