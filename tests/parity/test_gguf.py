"""Releases of GGUF files: those of the checkpoints that they were converted from, and compared with transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.verify.compare import compare
from protocol.release import Release
from tests.parity.models import ragged_prompts, save_model
from tests.parity.test_families import NOW
from tests.predictor.builder.checkpoint.gguf_files import KINDS, write_gguf

THETA = {"rope_theta": 50_000.0, "rope_type": "default"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": True, "rope_parameters": THETA}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "granite": ("Granite", {"residual_multiplier": 0.5, "attention_multiplier": 0.25, "logits_scaling": 4.0}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 4, "no_rope_layer_interval": 4, "pad_token_id": 0}),
    "hunyuan": ("HunYuanDenseV1", {"head_dim": 16}),
    "gemma2": ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}),
    "gemma3": ("Gemma3", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7}),
}  # fmt: skip


def build(source: Path, checkpoint: Path, out: Path) -> Release:
    request = BuildRequest(source, out, translation=checkpoint / "translation.json")
    return build_release(request, built_at=NOW, reporter=SilentReporter())


@pytest.mark.parametrize("family", FAMILIES)
def test_release_is_that_of_the_checkpoint_that_was_converted(tmp_path: Path, family: str) -> None:
    name, settings = FAMILIES[family]
    checkpoint = save_model(tmp_path / "model", name, **{"num_key_value_heads": 2, **settings})
    path = write_gguf(tmp_path / "model.gguf", checkpoint)
    expected, found = (
        build(source, checkpoint, tmp_path / f"release-{source.suffix}") for source in (checkpoint, path)
    )
    assert found.files["weights.bin"] == expected.files["weights.bin"]
    assert found.files["decoder.onnx"] == expected.files["decoder.onnx"]
    assert found.stop_token_ids == expected.stop_token_ids


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_verify_compares_with_the_numbers_in_the_file(tmp_path: Path, family: str) -> None:
    name, settings = FAMILIES[family]
    checkpoint = save_model(tmp_path / "model", name, **{"num_key_value_heads": 2, **settings})
    path = write_gguf(tmp_path / "model.gguf", checkpoint, kind=KINDS.Q8_0)
    release = tmp_path / "release"
    build(path, checkpoint, release)
    report = compare(release, path, ragged_prompts(), tokens=6, measured_at=NOW, reporter=SilentReporter())
    assert report.passed
    assert report.equal_tokens == report.tokens == 30
