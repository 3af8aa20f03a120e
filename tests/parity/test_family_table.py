from __future__ import annotations

import pytest

from benchmarks.family_parity import CASES, main
from predictor.builder.families.table import FAMILIES


def test_every_family_has_a_case() -> None:
    shown = {f"{family}ForCausalLM" for family, _ in CASES.values()}
    assert set(FAMILIES) == shown | {"Gemma3ForConditionalGeneration"}  # Gemma 3 with other names of tensors


def test_table_has_a_line_for_each_runner_and_precision(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "olmo2", "--precisions", "float32,int8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    runners = [["ONNX Runtime", "float32"], ["reference", "float32"], ["ONNX Runtime", "int8"]]
    table, summary = rows[:5], rows[7:]
    assert [row[2:4] for row in table[2:]] == [row[:2] for row in summary] == runners
    assert table[2][4] == summary[0][3] == "60 of 60"
    differences = [float(row[5]) for row in table[2:]]
    assert differences[0] < 1e-3 < differences[2]


def test_case_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "gpt9"])
    assert "no case has 'gpt9' in its name: llama" in capsys.readouterr().err
