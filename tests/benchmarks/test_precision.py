from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import precision
from tests.releases import write_checkpoint


def test_each_variant_is_built_and_compared_with_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", hidden=96)
    (tmp_path / "texts.txt").write_text("Blue shirt\nWhere is it?\n")
    command = [
        "precision",
        str(checkpoint),
        str(tmp_path / "texts.txt"),
        "--repeats",
        "1",
        "--calibration-tokens",
        "200",
    ]
    variants = ["float32", "int8:32:float", "int4:32", "int4:32:compensated"]
    monkeypatch.setattr("sys.argv", [*command, "--variants", ",".join(variants)])
    precision.main()
    rows = [re.split(r" *\| *", line.strip("| ")) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == variants
    assert rows[0][2:5] == ["100.0%", "0.0000", "+0.000"]
    assert float(rows[1][3]) < float(rows[2][3])  # int8 is nearer to float32 than int4
    assert all(float(speed) > 0 for row in rows for speed in row[5:])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "texts.txt"]
