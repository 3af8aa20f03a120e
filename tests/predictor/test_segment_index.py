from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictor.segment_index import (
    LAYER_ROLES,
    LINEAR_ROLES,
    SegmentIndex,
    SegmentTraits,
    StoredTensor,
    linear,
    linear_shape,
    map_tensor,
    read_segment_index,
)
from protocol.release import DecoderShape
from protocol.release_documents import ReleaseError

LAYER = {
    "attention.norm": (3,), "attention.qkv": (8, 3), "attention.qkv.bias": (8,), "attention.q_norm": (2,),
    "attention.k_norm": (2,), "attention.output": (3, 4), "mlp.norm": (3,), "mlp.gate_up": (14, 3),
    "mlp.down": (3, 7),
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "embedding": (5, 3), "norm": (3,), "rotary.cos": (4, 1), "rotary.sin": (4, 1),
    **{f"layers.{layer}.{part}": shape for layer in range(2) for part, shape in LAYER.items()},
}  # fmt: skip
INDEX = SegmentIndex(
    traits=SegmentTraits(norm_eps=1e-6, qkv_bias=True, output_bias=False, mlp_bias=False, qk_norm=True),
    tensors={
        name: StoredTensor(4096 * place, "float32" if len(shape) == 1 else "float16", shape)
        for place, (name, shape) in enumerate(SHAPES.items())
    },
)


def write(release: Path, document: object) -> Path:
    (release / "segments").mkdir(exist_ok=True)
    (release / "segments" / "segments.json").write_text(json.dumps(document))
    return release


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_segment_index(write(tmp_path, INDEX.to_json())) == INDEX


def test_release_without_segments_is_told_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="rebuild the release with --precision float16 or float32"):
        read_segment_index(tmp_path)


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["tensors"].pop(name)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another format": (lambda document: document.update(format=2), "this version reads 1"),
    "no tensors": (lambda document: document.pop("tensors"), "tensors"),
    "a tensor without a place": (lambda document: document["tensors"]["norm"].pop("offset"), "offset"),
    "no embedding": (without("embedding"), "has no embedding"),
    "no table": (without("rotary.sin"), "has no rotary.sin"),
    "a layer without a matrix": (without("layers.1.mlp.down"), "has no layers.1.mlp.down"),
    "a layer without its bias": (without("layers.0.attention.qkv.bias"), "has no layers.0.attention.qkv.bias"),
    "a layer without its head norm": (without("layers.1.attention.k_norm"), "has no layers.1.attention.k_norm"),
    "other biases": (lambda document: document["traits"].update(mlp_bias=True), "has no layers.0.mlp.down.bias"),
    "a trait too many": (lambda document: document["traits"].update(gated=True), "gated"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_with_its_file_and_the_fix(tmp_path: Path, fault: str) -> None:
    break_it, named = FAULTS[fault]
    document = INDEX.to_json()
    break_it(document)
    with pytest.raises(ReleaseError, match=r"segments\.json: .*; rebuild the release") as raised:
        read_segment_index(write(tmp_path, document))
    assert named in str(raised.value)


def test_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {}) / "segments" / "segments.json"
    path.write_text("{")
    with pytest.raises(ReleaseError, match="cannot be read"):
        read_segment_index(tmp_path)


def test_tensor_is_mapped_where_the_index_says(tmp_path: Path) -> None:
    stored = INDEX.tensors["layers.0.mlp.down"]
    values = np.arange(21, dtype=np.float16).reshape(3, 7)
    (tmp_path / "weights.bin").write_bytes(bytes(stored.offset) + values.tobytes())
    mapped = map_tensor(tmp_path, stored)
    np.testing.assert_array_equal(mapped, values)
    assert mapped.nbytes == stored.nbytes
    assert not mapped.flags.writeable


@pytest.mark.parametrize("content", [None, bytes(4100)], ids=["missing", "cut"])
def test_weights_that_are_not_there_are_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"weights\.bin cannot be read.*release verify"):
        map_tensor(tmp_path, INDEX.tensors["layers.0.mlp.down"])


def test_matrices_are_taken_in_float16_and_the_rest_in_float32() -> None:
    names = ("embedding", "layers.1.mlp.down", "layers.1.attention.qkv.bias", "norm", "rotary.cos")
    assert [INDEX.step_dtype(name) for name in names] == [
        "float16",
        "float16",
        "float32",
        "float32",
        "float32",
    ]


def test_vocabulary_is_the_embedding_where_there_is_none() -> None:
    assert INDEX.vocabulary == "embedding"
    tensors = {**INDEX.tensors, "vocabulary": INDEX.tensors["embedding"]}
    assert replace(INDEX, tensors=tensors).vocabulary == "vocabulary"


def test_sizes_and_names_agree() -> None:
    shape = DecoderShape(layers=2, hidden=3, heads=2, kv_heads=1, head_dim=2, intermediate=7, vocab=5)
    assert INDEX.layers == 2
    for role in LAYER_ROLES:
        assert linear_shape(shape, role) == INDEX.tensors[linear(1, role)].shape
    assert linear_shape(shape, "vocabulary") == INDEX.tensors["embedding"].shape
    assert set(LINEAR_ROLES) == {*LAYER_ROLES, "vocabulary"}
