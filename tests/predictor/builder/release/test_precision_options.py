from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from cli.__main__ import main
from predictor.builder.errors import PrecisionUnavailable
from predictor.builder.progress import SilentReporter
from predictor.builder.release import build as module
from predictor.builder.release.build import BuildRequest, build_release
from protocol.release import Release
from tests.predictor.builder.checkpoints import NOW


def build(checkpoint: Path, out: Path, precision: str, block: int | None, *, floats: bool = False) -> Release:
    request = BuildRequest(checkpoint, out, precision=precision, block_size=block, float_activations=floats)
    return build_release(request, built_at=NOW, reporter=SilentReporter())


def attributes(release: Path, operator: str, name: str) -> set[int]:
    graph = onnx.load(str(release / "decoder.onnx"), load_external_data=False).graph
    nodes = [node for node in graph.node if node.op_type == operator]
    assert nodes
    return {attribute.i for node in nodes for attribute in node.attribute if attribute.name == name}


@pytest.mark.parametrize(("block", "vocabulary"), [(16, 16), (32, 32), (256, 32)])
def test_blocks_are_of_the_size_that_was_asked_for(
    checkpoint: Path, tmp_path: Path, block: int, vocabulary: int
) -> None:
    out = tmp_path / "release"
    release = build(checkpoint, out, "int8", block)
    assert attributes(out, "MatMulNBits", "block_size") == {block, vocabulary}
    assert attributes(out, "GatherBlockQuantized", "block_size") == {
        vocabulary
    }  # a divisor of the 96 columns
    assert release.provenance["quantization"]["block_size"] == block
    assert release.id != build(checkpoint, tmp_path / "usual", "int8", None).id


def test_activations_are_rounded_or_not(checkpoint: Path, tmp_path: Path) -> None:
    assert (
        build(checkpoint, tmp_path / "rounded", "int4", None).provenance["quantization"]["activations"]
        == "int8"
    )
    build(checkpoint, tmp_path / "float", "int4", None, floats=True)
    assert attributes(tmp_path / "rounded", "MatMulNBits", "accuracy_level") == {4}
    assert attributes(tmp_path / "float", "MatMulNBits", "accuracy_level") == {1}


@pytest.mark.parametrize(
    ("precision", "block", "floats", "message"),
    [
        ("float32", 32, False, "float32 is stored without blocks"),
        ("int8", 48, False, "--block-size 48 is none of 16, 32, 64, 128, 256"),
        ("float16", None, True, "float16 is multiplied in float32 as it is"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    checkpoint: Path, tmp_path: Path, precision: str, block: int | None, floats: bool, message: str
) -> None:
    with pytest.raises(PrecisionUnavailable, match=message):
        build(checkpoint, tmp_path / "release", precision, block, floats=floats)
    assert not (tmp_path / "release").exists()


def test_the_command_takes_them_and_show_tells_them(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "release",
        "build",
        str(checkpoint),
        "-o",
        str(tmp_path / "release"),
        "--precision",
        "int8-weights",
    ]
    assert main([*command, "--block-size", "64", "--activations", "float32"]) == 0
    assert main(["release", "show", str(tmp_path / "release")]) == 0
    assert "int8, blocks of 64, times activations in float32" in capsys.readouterr().out


class Messages(SilentReporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def info(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(
    ("precision", "largest", "warns"), [("int4", 10**9, True), ("int4", 1, False), ("int8", 10**9, False)]
)
def test_int4_of_a_small_model_is_warned_of(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    largest: int,
    warns: bool,
) -> None:
    monkeypatch.setattr(module, "SMALL_FOR_INT4", largest)
    messages = Messages()
    build_release(BuildRequest(checkpoint, tmp_path / "release", precision), built_at=NOW, reporter=messages)
    assert any("int4 changes many answers" in text for text in messages.texts) == warns
