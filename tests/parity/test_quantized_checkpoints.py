"""Releases of quantized checkpoints against transformers with the numbers that the published definitions give."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predictor.builder.progress import SilentReporter
from predictor.builder.verify.compare import ReleaseGenerator, compare
from predictor.builder.weights.block_quantize import QuantFormat, dequantize_rows, quantize_rows
from protocol.release import load_release
from tests.parity.models import load_model, logprobs_after, ragged_prompts, save_model
from tests.parity.test_families import NOW, build
from tests.parity.test_quantized import multiply_in_float32
from tests.predictor.builder.checkpoint.quantized_checkpoints import (
    Quantizer,
    awq,
    float8,
    gptq,
    pack_quantized,
    quantize_checkpoint,
)

INT4: dict[str, Any] = {"bits": 4, "group_size": 32}
COMPRESSED: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"group_size": 32}}},
}
BLOCKS: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [32, 32]}


@dataclass(frozen=True)
class Case:
    family: str
    quantize: Quantizer
    config: dict[str, Any]
    precision: str = "int4"
    kept: int = 22
    converted: int = 0
    """Matrices of three layers, and the vocabulary."""


CASES = {
    "GPTQ": Case("Llama", gptq(), {"quant_method": "gptq", **INT4}),
    "AWQ, with biases": Case("Qwen2", awq(), {"quant_method": "awq", **INT4}),
    "GPTQ int8, rows in another order": Case(
        "Ernie4_5", gptq(bits=8), {"quant_method": "gptq", "bits": 8, "group_size": 32}, "int8"
    ),
    "compressed-tensors, with factors": Case("Granite", pack_quantized(), COMPRESSED),
    "fp8": Case("Qwen3", float8("block", scale="weight_scale_inv"), BLOCKS, "float32", 0, 22),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "Granite": {"residual_multiplier": 0.5, "attention_multiplier": 0.3, "embedding_multiplier": 2.0},
    "Ernie4_5": {"head_dim": 16},
    "Qwen3": {"head_dim": 16},
}


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_the_numbers_in_the_checkpoint(tmp_path: Path, case: str) -> None:
    given = CASES[case]
    settings: dict[str, Any] = {
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
        **SETTINGS.get(given.family, {}),
    }
    original = save_model(tmp_path / "original", given.family, **settings)
    checkpoint = shutil.copytree(original, tmp_path / "model")
    reference = load_model(original)
    expected = quantize_checkpoint(checkpoint, given.quantize, **given.config)
    with torch.no_grad():
        for name, values in expected.items():
            rounded = given.precision != "float32" and "embed" in name
            stored = in_8_bits(values) if rounded else np.array(values)
            reference.get_parameter(name).copy_(torch.from_numpy(stored))
    release = build(checkpoint, given.precision)
    found = load_release(release).provenance["quantized_checkpoint"]
    assert (found["kept"], found["converted"]) == (given.kept, given.converted)
    if given.precision != "float32":
        multiply_in_float32(release)
    prompts = ragged_prompts()
    generated = ReleaseGenerator(release).generate(prompts, 6)
    for prompt, ids, logprobs in zip(prompts, generated.ids, generated.logprobs, strict=True):
        tokens = prompt.tolist()
        for candidates, values in zip(ids, logprobs, strict=True):
            wanted = logprobs_after(reference, tokens)
            np.testing.assert_allclose(values, wanted[candidates], atol=2e-3)
            tokens.append(int(candidates[0]))


def in_8_bits(values: np.ndarray) -> np.ndarray:
    """The embedding, which is quantized as in every release of that precision."""
    form = QuantFormat(8, 64)
    return dequantize_rows(*quantize_rows(values, form), form, values.shape[1])


def test_verify_compares_with_the_numbers_in_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path / "model", "Llama", num_key_value_heads=2, tie_word_embeddings=True)
    quantize_checkpoint(checkpoint, gptq(act_order=True), quant_method="gptq", **INT4)
    release = build(checkpoint, "float32")
    report = compare(
        release, checkpoint, ragged_prompts(), tokens=6, measured_at=NOW, reporter=SilentReporter()
    )
    assert report.passed
    assert report.equal_tokens == report.tokens == 30
