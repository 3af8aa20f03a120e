from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.__main__ import main
from predictor.builder.errors import BrokenText, CalibrationFailed, PrecisionUnavailable
from predictor.builder.int8.quantize import CalibrationConfig
from predictor.builder.progress import SilentReporter
from predictor.builder.quantized.build import MeasuredRequest, build_measured
from predictor.builder.quantized.inputs import RecordedInputs
from predictor.builder.quantized.precision_report import PrecisionReport
from predictor.builder.release.build import BuildRequest
from predictor.builder.release.integrity import find_faults
from protocol.release import load_release
from tests.predictor.builder.checkpoints import NOW
from tests.releases import write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("quantized") / "checkpoint", hidden=96)


def request_for(checkpoint: Path, out: Path, *, compensate: bool) -> MeasuredRequest:
    build = BuildRequest(checkpoint, out, precision="int4")
    return MeasuredRequest(build, compensate, None, CalibrationConfig(tokens=2000, answer_tokens=4))


def built(request: MeasuredRequest) -> PrecisionReport:
    _, report = build_measured(request, built_at=NOW, reporter=SilentReporter())
    return report


def test_errors_that_are_made_up_for_change_fewer_choices(checkpoint: Path, tmp_path: Path) -> None:
    plain = built(request_for(checkpoint, tmp_path / "plain", compensate=False))
    compensated = built(request_for(checkpoint, tmp_path / "compensated", compensate=True))
    assert (plain.tokens, plain.texts) == (compensated.tokens, compensated.texts)
    assert compensated.kl_nats < 0.7 * plain.kl_nats
    assert plain.reference_nats_per_token == compensated.reference_nats_per_token

    first, second = load_release(tmp_path / "plain"), load_release(tmp_path / "compensated")
    assert first.id != second.id
    assert first.provenance["quantization"] == {"block_size": 32, "activations": "int8"}
    assert second.provenance["quantization"]["compensated"] == "LDLQ"
    assert find_faults(tmp_path / "compensated", SilentReporter()) == ()
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "compensated"}  # nothing is left behind


def test_the_command_reports_and_removes_what_a_killed_build_left(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leftover = tmp_path / ".release.calibration" / "float16"
    leftover.mkdir(parents=True)
    (leftover / "weights.bin").write_bytes(b"half of it")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"Where is my order {number}?" for number in range(8)))
    command = [
        "release",
        "build",
        str(checkpoint),
        "-o",
        str(tmp_path / "release"),
        "--precision",
        "int8-weights",
    ]
    assert main([*command, "--measure", "--calibration", str(texts)]) == 0
    assert "int8, 4 texts" in capsys.readouterr().err
    report = json.loads((tmp_path / "release/reports/precision.json").read_text())
    assert report["next_token_agreement"] > 0.5
    assert not leftover.parent.exists()
    assert main(["release", "show", str(tmp_path / "release")]) == 0
    assert "report precision" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("precision", "compensate", "message"),
    [
        ("float16", False, "float16 is not quantized"),
        ("int8", True, "--compensate is for int4-weights"),
    ],
)
def test_what_has_nothing_to_calibrate_is_refused(
    checkpoint: Path, tmp_path: Path, precision: str, compensate: bool, message: str
) -> None:
    request = request_for(checkpoint, tmp_path / "release", compensate=compensate)
    with pytest.raises(PrecisionUnavailable, match=message):
        built(replace(request, build=replace(request.build, precision=precision)))
    assert list(tmp_path.iterdir()) == []


def test_after_an_error_nothing_is_left(checkpoint: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("only one\n")
    request = replace(request_for(checkpoint, tmp_path / "release", compensate=True), texts=texts)
    with pytest.raises(BrokenText, match="no two texts"):
        built(request)
    assert list(tmp_path.iterdir()) == [texts]


def test_recorded_inputs_come_back(tmp_path: Path) -> None:
    inputs = RecordedInputs(tmp_path)
    first, second = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((1, 3), np.float32)
    inputs("down", first)
    inputs("down", second)
    np.testing.assert_array_equal(inputs.rows("down"), np.concatenate((first, second)))
    assert "down" in inputs
    assert "up" not in inputs
    with pytest.raises(CalibrationFailed, match="Build without --compensate"):
        inputs("down", np.full((1, 3), np.inf, np.float32))
