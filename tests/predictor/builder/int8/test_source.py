from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predictor.builder.errors import PrecisionUnavailable
from predictor.builder.graph.segments import emit_segment
from predictor.builder.int8 import source as int8_source
from predictor.builder.int8.smooth import quantize_weights
from predictor.builder.int8.source import Int8Source, matrix_roles, stored_matrix
from predictor.builder.plans.source import Float16Source
from predictor.segment_index import map_tensor, read_segment_index
from protocol.release import load_release
from tests.releases import build_random_release

CHOSEN = ("layers.0.mlp.down", "layers.1.mlp.down", "layers.1.attention.qkv", "vocabulary")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    build_random_release(tmp_path)
    return tmp_path / "random"


def scales(release: Path, names: tuple[str, ...] = CHOSEN) -> dict[str, np.ndarray]:
    index, rng = read_segment_index(release), np.random.default_rng(0)
    return {
        name: rng.uniform(1, 30, stored_matrix(index, name).shape[1]).astype(np.float32) for name in names
    }


def content(source: Int8Source | Float16Source) -> dict[str, np.ndarray]:
    return {
        spec.name: np.concatenate(list(source.blocks(spec))).reshape(spec.shape) for spec in source.tensors
    }


def test_all_matrices_have_a_role(release: Path) -> None:
    roles = matrix_roles(read_segment_index(release))
    assert list(roles) == [
        *(
            f"layers.{layer}.{part}"
            for layer in range(load_release(release).decoder.layers)
            for part in ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")
        ),
        "vocabulary",
    ]


@pytest.mark.parametrize("block", [1 << 22, 100])
def test_chosen_matrices_are_codes_and_all_else_as_in_float16(
    release: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(int8_source, "BLOCK_VALUES", block)
    chosen, index = scales(release), read_segment_index(release)
    source = Int8Source(release, chosen)
    found, float16 = content(source), content(Float16Source(release))
    for name, scale in chosen.items():
        codes, output_scale = quantize_weights(map_tensor(release, stored_matrix(index, name)), scale)
        np.testing.assert_array_equal(found.pop(name), codes)
        np.testing.assert_array_equal(found.pop(f"{name}.input_scale"), scale)
        np.testing.assert_array_equal(found.pop(f"{name}.output_scale"), output_scale)
        float16.pop(name, None)
    assert set(found) == set(float16), "the embedding stays, since it is looked up in"
    for name, values in float16.items():
        np.testing.assert_array_equal(found[name], values)
    assert source.quantized == tuple(sorted(CHOSEN))
    assert source.weights["vocabulary"] == "vocabulary"
    assert source.weights["layers.0.mlp.down.input_scale"] == "layers.0.mlp.down.input_scale"


def test_specs_say_types_and_shapes(release: Path) -> None:
    source = Int8Source(release, scales(release))
    for spec in source.tensors:
        for block in source.blocks(spec):
            assert block.dtype == spec.dtype
    assert len({spec.name for spec in source.tensors}) == len(source.tensors)


def test_engines_are_those_that_some_matrix_needs(release: Path) -> None:
    names = {"attention_output.float16", "gate_up.float16", "qkv.float16", "qkv.int8", "down.int8"}
    source = Int8Source(release, scales(release))
    assert set(source.graphs) == names | {"vocabulary.int8"}
    assert source.graphs["down.int8"] == emit_segment("down", 48, 96, "int8")


def test_a_tied_vocabulary_in_float16_stays_the_embedding(release: Path) -> None:
    source = Int8Source(release, scales(release, ("layers.0.mlp.down",)))
    assert source.weights["vocabulary"] == "embedding"
    assert "vocabulary" not in {spec.name for spec in source.tensors}


def test_output_scales_need_not_be_asked_for_after_their_codes(release: Path) -> None:
    source = Int8Source(release, scales(release))
    wanted = content(source)
    for spec in reversed(source.tensors):
        np.testing.assert_array_equal(
            np.concatenate(list(source.blocks(spec))).reshape(spec.shape), wanted[spec.name]
        )


def test_weights_that_are_no_numbers_are_refused_by_name(release: Path) -> None:
    tensor = read_segment_index(release).tensors["layers.1.mlp.down"]
    with open(release / "weights.bin", "r+b") as file:
        file.seek(tensor.offset + 4)
        file.write(np.float32("nan").tobytes())
    with pytest.raises(PrecisionUnavailable, match=r"layers\.1\.mlp\.down has values that are not finite"):
        content(Int8Source(release, scales(release)))
