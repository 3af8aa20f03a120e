from __future__ import annotations

import dataclasses
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
    StoredTensor,
    layer_roles,
    linear,
    linear_roles,
    linear_shape,
    map_tensor,
    read_segment_index,
)
from predictor.segment_traits import LatentTraits, MixtureTraits, SegmentTraits
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


MIXTURE = MixtureTraits(layers=(1,), experts=4, chosen=2, intermediate=3, shared_intermediate=6, biased=True)
LATENT = LatentTraits(rank=4, query_rank=5, plain=3, rotated=2, value=3, scale=0.4)


def test_traits_of_mixtures_and_latent_attention_are_read_back() -> None:
    traits = dataclasses.replace(INDEX.traits, mixture=MIXTURE, latent=LATENT, layers=("global", "local"))
    assert SegmentTraits.from_json(json.loads(json.dumps(traits.to_json()))) == traits


def test_roles_and_shapes_are_those_of_the_layer() -> None:
    traits = dataclasses.replace(INDEX.traits, mixture=MIXTURE, latent=LATENT)
    shape = DecoderShape(2, 8, 2, 1, 6, 16, 50, shared_kv=True)
    dense, sparse = (layer_roles(traits, layer) for layer in range(2))
    assert dense == ("qkv", "query", "attention_output", "gate_up", "down")
    assert sparse[3:] == ("expert_gate_up", "expert_down", "shared_gate_up", "shared_down")
    roles = linear_roles(traits, 2)
    assert roles == (*dense, *sparse[3:], "vocabulary")
    shapes = {role: linear_shape(shape, role, traits) for role in roles}
    assert shapes["qkv"] == (5 + 4 + 2, 8)
    assert (shapes["query"], shapes["attention_output"]) == ((2 * 5, 5), (8, 2 * 3))
    assert (shapes["expert_gate_up"], shapes["expert_down"]) == ((6, 8), (8, 3))
    assert (shapes["shared_gate_up"], shapes["shared_down"]) == ((12, 8), (8, 6))


@pytest.mark.parametrize(
    "name",
    [
        "layers.1.mlp.experts.down",
        "layers.1.mlp.router",
        "layers.1.mlp.router.bias",
        "layers.1.mlp.shared.gate_up",
        "layers.0.attention.query",
        "layers.1.attention.latent_kv",
        "layers.0.attention.query_norm",
    ],
)
def test_mixture_or_latent_attention_without_a_tensor_is_refused(tmp_path: Path, name: str) -> None:
    document = INDEX.to_json()
    traits = dataclasses.replace(INDEX.traits, mixture=MIXTURE, latent=LATENT)
    document["traits"] = traits.to_json()
    names = {linear(layer, role) for layer in range(2) for role in layer_roles(traits, layer)}
    names |= {f"layers.1.mlp.router{end}" for end in ("", ".bias")}
    names |= {f"layers.{layer}.attention.{end}" for layer in range(2) for end in LATENT_TENSORS}
    place = {"offset": 0, "dtype": "float32", "shape": [1]}
    document["tensors"] |= dict.fromkeys(names, place)
    assert read_segment_index(write(tmp_path, document)).traits == traits
    document["tensors"].pop(name)
    with pytest.raises(ReleaseError, match=f"has no {name}'"):
        read_segment_index(write(tmp_path, document))


LATENT_TENSORS = ("latent_kv", "latent_norm", "query_norm")


def test_router_stays_in_float32() -> None:
    names = ("layers.0.mlp.router", "layers.0.mlp.experts.gate_up")
    tensors = {name: StoredTensor(0, "float32", (2, 3)) for name in names}
    index = dataclasses.replace(INDEX, tensors=tensors)
    assert [index.step_dtype(name) for name in names] == ["float32", "float16"]
