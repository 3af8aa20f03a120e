"""The benchmark of transfers moves a whole release, and says how long that took."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.release_transfer import main


def test_a_small_release_is_pushed_and_pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gigabytes", "0.02", "--directory", str(tmp_path)]) == 0
    assert re.search(r"\| 0\.02 \| \d+\.\d \| \d+\.\d \| \d+\.\d \|$", capsys.readouterr().out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--gigabytes", "1e9", "--directory", str(tmp_path)])
    assert re.search(r"has \d+ GB free: 2000000005 are needed", capsys.readouterr().err)
