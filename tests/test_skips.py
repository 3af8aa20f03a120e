"""A skip under CI fails the run, seen from outside: pytest in a process of its own over a project of one test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

RUNTIME_SKIP = "def test_it(): pytest.skip('no kubectl')"
MARKED_SKIP = "@pytest.mark.gpu\ndef test_it(): pytest.skip('no GPU')"
CONDITION = "@pytest.mark.skipif(True, reason='no compiler')\ndef test_it(): pass"
FIXTURE_SKIP = "@pytest.fixture\ndef tool(): pytest.skip('no tool')\ndef test_it(tool): pass"
IMPORT_SKIP = "pytest.importorskip('a_package_that_is_not_there')\ndef test_it(): pass"
EXPECTED_FAILURE = "@pytest.mark.xfail(reason='known')\ndef test_it(): raise AssertionError"


def _run(folder: Path, test: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_one.py").write_text(f"import pytest\n{test}\n")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: as in the project\n")
    kept = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env={**kept, "PYTHONPATH": str(ROOT), **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("test", [RUNTIME_SKIP, CONDITION, FIXTURE_SKIP, IMPORT_SKIP])
def test_a_skip_under_ci_fails(tmp_path: Path, test: str) -> None:
    done = _run(tmp_path, test, CI="1")
    assert done.returncode != 0
    assert "Under CI only tests marked gpu or cluster may be skipped" in done.stdout


@pytest.mark.parametrize("test", [MARKED_SKIP, EXPECTED_FAILURE])
def test_marked_skips_and_expected_failures_pass_under_ci(tmp_path: Path, test: str) -> None:
    assert _run(tmp_path, test, CI="1").returncode == 0


@pytest.mark.parametrize("test", [RUNTIME_SKIP, CONDITION, FIXTURE_SKIP])
def test_elsewhere_a_skip_is_a_skip(tmp_path: Path, test: str) -> None:
    done = _run(tmp_path, test)
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
