"""Quantized checkpoints: each form is written by its published definition, and read back as the same numbers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from predictor.builder.checkpoint import tensors as module
from predictor.builder.checkpoint.packed import BlockLayout, CodedMatrix
from predictor.builder.checkpoint.tensors import Checkpoint, open_checkpoint
from predictor.builder.errors import BrokenCheckpoint, BuildError, UnsupportedModel
from tests.predictor.builder.checkpoint.quantized_checkpoints import (
    Quantizer,
    awq,
    float8,
    gptq,
    int_quantized,
    pack_quantized,
    quantize_checkpoint,
)
from tests.predictor.builder.checkpoints import WEIGHTS, build, edit_json, edit_tensors

Q_PROJ = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.0.mlp.down_proj"
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
BLOCKS = {**FP8, "weight_block_size": [32, 32]}


def compressed(**weights: object) -> dict[str, object]:
    """A configuration of compressed-tensors with one group."""
    return {
        "quant_method": "compressed-tensors",
        "format": weights.pop("format", "pack-quantized"),
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignored_layers": ["lm_head"],
    }


GPTQ: dict[str, object] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
AWQ: dict[str, object] = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}

FORMS: dict[str, tuple[Quantizer, dict[str, Any]]] = {
    "fp8 in blocks (DeepSeek, Qwen)": (float8("block", scale="weight_scale_inv"), BLOCKS),
    "fp8 in blocks that do not divide": (
        float8("block", scale="weight_scale_inv", block=40),
        {**FP8, "weight_block_size": [40, 40]},
    ),
    "fp8 in blocks with scales that are powers of two": (
        float8("block", scale="weight_scale_inv", scale_type=ml_dtypes.float8_e8m0fnu),
        BLOCKS,
    ),
    "fp8 with one scale": (float8("tensor"), FP8),
    "fp8 with one scale in an array": (float8("tensor of one", scale_type=ml_dtypes.bfloat16), FP8),
    "fp8 by row (FBGEMM)": (float8("row"), {"quant_method": "fbgemm_fp8"}),
    "fp8 of modelopt": (float8("tensor"), {"quant_method": "modelopt", "quant_algo": "FP8"}),
    "compressed-tensors, fp8 by row": (
        float8("row", scale_type=ml_dtypes.bfloat16),
        compressed(format="float-quantized", num_bits=8, type="float", strategy="channel"),
    ),
    "compressed-tensors, fp8 in blocks": (
        float8("block"),
        compressed(format="float-quantized", num_bits=8, strategy="block", block_structure=[32, 32]),
    ),
    "compressed-tensors, int8": (int_quantized(), compressed(format="int-quantized", num_bits=8)),
    "compressed-tensors, int8 with zero points": (
        int_quantized(uneven=True),
        compressed(format="int-quantized", num_bits=8, symmetric=False),
    ),
    "compressed-tensors, int4": (pack_quantized(), compressed(num_bits=4, group_size=32)),
    "compressed-tensors, int4 with zero points": (
        pack_quantized(uneven=True),
        compressed(num_bits=4, group_size=32, symmetric=False),
    ),
    "compressed-tensors, int4 by row": (pack_quantized(group=-1), compressed(num_bits=4, strategy="channel")),
    "compressed-tensors, packed int8": (pack_quantized(bits=8), compressed(num_bits=8, group_size=32)),
    "GPTQ int4": (gptq(), GPTQ),
    "GPTQ int4, symmetric": (gptq(even=True), {**GPTQ, "sym": True}),
    "GPTQ int4, act order": (gptq(act_order=True), {**GPTQ, "desc_act": True}),
    "GPTQ int4, one group": (gptq(group=-1), {**GPTQ, "group_size": -1}),
    "GPTQ int4, version 2": (gptq(version="gptq_v2"), {**GPTQ, "checkpoint_format": "gptq_v2"}),
    "GPTQ int4 of GPTQModel": (gptq(), {**GPTQ, "meta": {"quantizer": ["gptqmodel:7.7.0"]}}),
    "GPTQ int8": (gptq(bits=8), {**GPTQ, "bits": 8}),
    "GPTQ int2": (gptq(bits=2, even=True), {**GPTQ, "bits": 2}),
    "AWQ int4": (awq(), AWQ),
}


def read(checkpoint: Checkpoint, name: str) -> np.ndarray:
    return np.concatenate(list(checkpoint.rows(name)))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_those_of_the_published_definition(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    quantize, config = FORMS[form]
    expected = quantize_checkpoint(checkpoint, quantize, **config)
    monkeypatch.setattr(module, "READ_BYTES", 4 * 96 * 7)  # slices that end between words and between blocks
    opened = open_checkpoint(checkpoint)
    assert set(opened.tensors) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(read(opened, name), values)


Layouts = tuple[BlockLayout | None, BlockLayout | None]
"""Of a matrix of 96 columns and of one of 192."""


def both(layout: BlockLayout | None) -> Layouts:
    return (layout, layout)


KEPT: dict[str, tuple[Quantizer, dict[str, Any], Layouts]] = {
    "GPTQ": (gptq(), GPTQ, both(BlockLayout(4, 32, True))),
    "GPTQ, symmetric": (gptq(even=True), GPTQ, both(BlockLayout(4, 32, False))),
    "GPTQ, one group": (
        gptq(group=-1),
        {**GPTQ, "group_size": -1},
        (BlockLayout(4, 32, True), BlockLayout(4, 64, True)),
    ),
    "GPTQ, groups of 96": (gptq(group=96), {**GPTQ, "group_size": 96}, both(BlockLayout(4, 32, True))),
    "GPTQ, groups of 24": (gptq(group=24), {**GPTQ, "group_size": 24}, both(None)),
    "GPTQ, act order": (gptq(act_order=True), GPTQ, both(None)),
    "GPTQ int8": (gptq(bits=8), {**GPTQ, "bits": 8}, both(BlockLayout(8, 32, True))),
    "GPTQ int2": (gptq(bits=2, even=True), {**GPTQ, "bits": 2}, both(None)),
    "AWQ": (awq(group=16), {**AWQ, "group_size": 16}, both(BlockLayout(4, 16, True))),
    "compressed-tensors": (
        pack_quantized(),
        compressed(num_bits=4, group_size=32),
        both(BlockLayout(4, 32, False)),
    ),
    "fp8": (float8("row"), FP8, both(None)),
}


@pytest.mark.parametrize("form", KEPT)
def test_codes_that_are_kept_stand_for_the_same_numbers(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    quantize, config, layouts = KEPT[form]
    expected = quantize_checkpoint(checkpoint, quantize, **config)
    monkeypatch.setattr(module, "READ_BYTES", 4 * 96 * 7)
    opened = open_checkpoint(checkpoint)
    for name, layout in zip((f"{Q_PROJ}.weight", f"{DOWN}.weight"), layouts, strict=True):
        columns = expected[name].shape[1]
        assert opened.layout([name]) == layout
        if layout is None:
            continue
        parts = [read() for read in opened.block_reads(name)]
        codes, scales, zeros = (
            np.concatenate([getattr(part, field) for part in parts]).astype(np.float32)
            for field in ("codes", "scales", "zero_points")
        )
        assert codes.shape[1] == scales.shape[1] * layout.block
        values = (codes - np.repeat(zeros, layout.block, axis=1)) * np.repeat(scales, layout.block, axis=1)
        np.testing.assert_array_equal(values[:, :columns], expected[name])


def test_matrices_below_each_other_are_kept_if_their_layouts_agree(checkpoint: Path) -> None:
    def mixed(module: str, values: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return gptq(bits=8 if "k_proj" in module else 4)(module, values)

    quantize_checkpoint(checkpoint, mixed, **GPTQ)
    opened = open_checkpoint(checkpoint)
    q, k, v = (f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv")
    assert opened.layout([q, v]) == BlockLayout(4, 32, True)
    assert opened.layout([q, k, v]) is None
    assert opened.layout(["model.norm.weight"]) is None


@pytest.mark.parametrize(("quantizer", "zero"), [("auto_gptq", 0), ("gptqmodel:7.7.0", 0)])
def test_a_zero_point_of_zero_is_read_as_its_quantizer_wrote_it(
    checkpoint: Path, quantizer: str, zero: int
) -> None:
    """Less one it is 15 in AutoGPTQ's codes, and borrows from its neighbor in GPTQModel's words."""
    expected = quantize_checkpoint(
        checkpoint, gptq(version="gptq_v2"), **GPTQ, meta={"quantizer": [quantizer]}
    )
    name = f"{Q_PROJ}.qzeros"
    words = load_file(checkpoint / WEIGHTS)[name].view(np.uint32)
    words[0, 0] &= np.uint32(0xFFFFFFF0)  # the first zero point is 0
    if quantizer == "auto_gptq":
        fields = (words[..., None] >> np.arange(0, 32, 4, dtype=np.uint32)) & 15
        less = ((fields - 1) & 15) << np.arange(0, 32, 4, dtype=np.uint32)
        stored = less.sum(axis=-1, dtype=np.uint32)
    else:
        stored = words - np.uint32(0x11111111)
    edit_tensors(checkpoint, {name: stored.view(np.int32)})
    values = read(open_checkpoint(checkpoint), f"{Q_PROJ}.weight")
    matrix = open_checkpoint(checkpoint).packed[f"{Q_PROJ}.weight"]
    assert isinstance(matrix, CodedMatrix)
    assert matrix.blocks(0, 1).zero_points[0, 0] == zero
    np.testing.assert_array_equal(values[1:], expected[f"{Q_PROJ}.weight"][1:])


def test_a_vocabulary_in_codes_is_kept_too(checkpoint: Path, tmp_path: Path) -> None:
    rows = load_file(checkpoint / WEIGHTS)["model.embed_tokens.weight"].shape[0]
    edit_json(checkpoint / "config.json", tie_word_embeddings=False)
    edit_tensors(checkpoint, {"lm_head.weight": np.ones((rows, 96), np.float32)})
    quantize_checkpoint(checkpoint, gptq(), **GPTQ)
    provenance = build(checkpoint, tmp_path / "release", "int4").provenance["quantized_checkpoint"]
    assert provenance == {"forms": ["4 bits, groups of 32"], "kept": 15, "converted": 0}


def test_codes_of_another_size_than_the_releases_are_converted(checkpoint: Path, tmp_path: Path) -> None:
    quantize_checkpoint(checkpoint, gptq(), **GPTQ)
    for precision in ("float32", "int8"):
        provenance = build(checkpoint, tmp_path / precision, precision).provenance["quantized_checkpoint"]
        assert (provenance["kept"], provenance["converted"]) == (0, 14)


class Ones:
    """An update of a matrix of 96 columns."""

    def rows(self, first: int, count: int) -> np.ndarray:
        return np.full((count, 96), first + 1, np.float32)


def test_an_update_is_added_to_the_numbers_and_nothing_is_kept(checkpoint: Path) -> None:
    name = f"{Q_PROJ}.weight"
    expected = quantize_checkpoint(checkpoint, gptq(), **GPTQ)
    updated = dataclasses.replace(open_checkpoint(checkpoint), updates={name: Ones()})
    np.testing.assert_array_equal(read(updated, name), expected[name] + 1)
    assert updated.layout([name]) is None


def test_biases_of_zeros_beside_quantized_matrices_are_left_out(checkpoint: Path, tmp_path: Path) -> None:
    """AutoGPTQ writes them for every module."""
    quantize_checkpoint(checkpoint, gptq(), **GPTQ)
    plain = build(checkpoint, tmp_path / "plain", "int4")
    edit_tensors(checkpoint, {f"{Q_PROJ}.bias": np.zeros(96, np.float16)})
    assert build(checkpoint, tmp_path / "biased", "int4").id == plain.id
    edit_tensors(checkpoint, {f"{Q_PROJ}.bias": np.ones(96, np.float16)})
    with pytest.raises(BrokenCheckpoint, match=r"1 tensors have no place .*q_proj\.bias"):
        build(checkpoint, tmp_path / "other", "int4")


def broken(**changes: object) -> Callable[[Path], None]:
    return lambda checkpoint: edit_json(checkpoint / "config.json", quantization_config={**GPTQ, **changes})


def tensor(name: str, values: np.ndarray | None) -> Callable[[Path], None]:
    return lambda checkpoint: edit_tensors(checkpoint, {f"{Q_PROJ}.{name}": values})


BROKEN: dict[str, tuple[Callable[[Path], None], type[BuildError], str]] = {
    "method": (
        broken(quant_method="aqlm"),
        UnsupportedModel,
        r"quant_method is 'aqlm'; read are fp8, .*original",
    ),
    "bitsandbytes": (broken(quant_method="bitsandbytes"), UnsupportedModel, "quant_method is 'bitsandbytes'"),
    "no method": (broken(quant_method=None), UnsupportedModel, "no quant_method is named"),
    "3 bits": (
        tensor("qweight", np.zeros((9, 96), np.int32)),
        UnsupportedModel,
        "q_proj has codes of 3 bits",
    ),
    "marlin": (broken(checkpoint_format="marlin"), UnsupportedModel, "checkpoint_format is 'marlin'"),
    "rotation": (broken(rotation="hadamard"), UnsupportedModel, "rotation is 'hadamard'"),
    "group": (broken(group_size=128), BrokenCheckpoint, "_proj has qweight .* group_size 128"),
    "no scales": (tensor("scales", None), BrokenCheckpoint, r"q_proj.scales is missing"),
    "zero points": (
        tensor("qzeros", np.zeros((3, 11), np.int32)),
        BrokenCheckpoint,
        r"qzeros \[3, 11\] .* do not make a matrix",
    ),
    "scales of integers": (
        tensor("scales", np.zeros((3, 96), np.int32)),
        BrokenCheckpoint,
        "q_proj.scales is I32",
    ),
    "order": (
        tensor("g_idx", np.full(96, 9, np.int32)),
        BrokenCheckpoint,
        r"g_idx has shape \[96\] and names group 9, for 96 columns in 3 groups",
    ),
    "short order": (tensor("g_idx", np.zeros(95, np.int32)), BrokenCheckpoint, r"g_idx has shape \[95\]"),
    "size in words": (
        broken(group_size="many"),
        BrokenCheckpoint,
        "group_size must be a whole number, not 'many'",
    ),
    "scale that is none": (
        tensor("scales", np.full((3, 96), np.nan, np.float16)),
        BrokenCheckpoint,
        "q_proj.*NaN or infinity",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("precision", ["float32", "int4"])
def test_what_is_not_read_exactly_is_refused_by_name(
    checkpoint: Path, tmp_path: Path, fault: str, precision: str
) -> None:
    break_it, error, message = BROKEN[fault]
    quantize_checkpoint(checkpoint, gptq(), **GPTQ)
    break_it(checkpoint)
    with pytest.raises(error, match=message):
        build(checkpoint, tmp_path / "release", precision)
    assert not (tmp_path / "release").exists()


OTHER: dict[str, tuple[Quantizer, dict[str, Any], str]] = {
    "AWQ, another version": (awq(), {**AWQ, "version": "gemv"}, "version is 'gemv'"),
    "AWQ, 3 bits": (awq(), {**AWQ, "bits": 3}, "bits is 3"),
    "AWQ, groups": (awq(), {**AWQ, "group_size": 64}, r"_proj.qzeros has shape \[\d, 12\]"),
    "nvfp4": (
        pack_quantized(),
        compressed(format="nvfp4-pack-quantized"),
        "format is 'nvfp4-pack-quantized'",
    ),
    "groups": (pack_quantized(), compressed(num_bits=4, group_size=64), "fits no group_size"),
    "transform": (
        pack_quantized(),
        {**compressed(group_size=32), "transform_config": {"config_groups": {"R1": {}}}},
        "transform_config is",
    ),
    "sparse": (
        pack_quantized(),
        {**compressed(group_size=32), "sparsity_config": {"format": "sparse-24-bitmask"}},
        "sparsity_config is",
    ),
    "modelopt, 4 bits": (
        float8("tensor"),
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        "quant_algo is",
    ),
    "blocks": (float8("block"), {**FP8, "weight_block_size": [64, 64]}, r"fits no scales of .*64 x 64"),
    "blocks of no size": (float8("block"), FP8, r"fits no scales of .*\(none\)"),
    "no scale": (float8("row", scale="scale"), FP8, "is in 8-bit floats, but has no scale"),
}


@pytest.mark.parametrize("fault", OTHER)
def test_other_forms_are_refused_by_name(checkpoint: Path, fault: str) -> None:
    quantize, config, message = OTHER[fault]
    quantize_checkpoint(checkpoint, quantize, **config)
    with pytest.raises(BuildError, match=message):
        open_checkpoint(checkpoint)


def test_packed_codes_that_are_no_whole_words_are_refused(checkpoint: Path) -> None:
    quantize_checkpoint(checkpoint, pack_quantized(), **compressed(num_bits=3, group_size=32))
    edit_tensors(checkpoint, {f"{Q_PROJ}.weight_packed": np.zeros((96, 9), np.int32)})
    with pytest.raises(
        UnsupportedModel, match=r"weight_packed has shape \[96, 9\] .*read are 2, 4 and 8 bits"
    ):
        open_checkpoint(checkpoint)


def test_a_shape_that_is_none_is_refused(checkpoint: Path) -> None:
    quantize_checkpoint(checkpoint, pack_quantized(), **compressed(num_bits=4, group_size=32))
    edit_tensors(checkpoint, {f"{Q_PROJ}.weight_shape": np.array([96, 96, 1])})
    with pytest.raises(
        BrokenCheckpoint, match=r"q_proj\.weight_shape must hold two numbers, not \[96, 96, 1\]"
    ):
        open_checkpoint(checkpoint)


def test_8_bit_floats_without_a_word_how_they_are_scaled_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    quantize_checkpoint(checkpoint, float8("row"))
    with pytest.raises(
        UnsupportedModel, match=r"has dtype F8_E4M3; supported: .* config\.json has a quantization_config"
    ):
        build(checkpoint, tmp_path / "release")


@pytest.mark.parametrize(
    ("name", "fields", "quantize"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 32, "desc_act": False}, gptq()),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}, awq()),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, float8("tensor")),
    ],
)
def test_the_files_of_quantizers_say_it_too(
    checkpoint: Path, name: str, fields: dict[str, Any], quantize: Quantizer
) -> None:
    expected = quantize_checkpoint(checkpoint, quantize)
    (checkpoint / name).write_text(json.dumps(fields))
    np.testing.assert_array_equal(
        read(open_checkpoint(checkpoint), f"{DOWN}.weight"), expected[f"{DOWN}.weight"]
    )


def test_a_file_of_8_bit_floats_that_shrinks_is_refused(checkpoint: Path) -> None:
    quantize_checkpoint(checkpoint, float8("row"), **FP8)
    opened = open_checkpoint(checkpoint)
    (checkpoint / WEIGHTS).write_bytes(b"")
    with pytest.raises(BrokenCheckpoint, match="ends too early"):
        read(opened, f"{DOWN}.weight")
