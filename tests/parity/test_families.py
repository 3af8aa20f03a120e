from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.verify.compare import ReleaseGenerator, compare
from predictor.builder.verify.parity_report import ParityReport
from tests.parity.models import (
    load_model,
    logprobs_after,
    ragged_prompts,
    rewrite_config,
    save_model,
)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.5}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-gqa-tied": (
        "Llama",
        {"num_key_value_heads": 2, "tie_word_embeddings": True, "rms_norm_eps": 1e-2},
    ),
    "llama-mha-untied-linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama-gqa-biases-llama3": (
        "Llama",
        {"num_key_value_heads": 1, "rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True},
    ),
    "llama-wide-heads": ("Llama", {"num_key_value_heads": 2, "head_dim": 48}),
    "qwen2-gqa-tied": ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2-mha-untied-linear": ("Qwen2", {"num_key_value_heads": 4, "rope_parameters": LINEAR}),
    "qwen2-window-not-in-use": (
        "Qwen2",
        {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 3},
    ),
    "qwen3-gqa-tied-llama3": (
        "Qwen3",
        {"num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True, "rope_parameters": LLAMA3},
    ),
    "qwen3-mha-untied-bias": ("Qwen3", {"num_key_value_heads": 4, "head_dim": 16, "attention_bias": True}),
}


def build(checkpoint: Path, precision: str = "float32") -> Path:
    out = checkpoint.with_name(f"{checkpoint.name}-{precision}")
    build_release(BuildRequest(checkpoint, out, precision=precision), built_at=NOW, reporter=SilentReporter())
    return out


def compared(checkpoint: Path, precision: str = "float32") -> ParityReport:
    return compare(
        build(checkpoint, precision),
        checkpoint,
        ragged_prompts(),
        tokens=12,
        measured_at=NOW,
        reporter=SilentReporter(),
    )


def assert_equal_to_hugging_face(report: ParityReport) -> None:
    assert report.equal_tokens == report.tokens == 60, report.first_disagreement
    assert report.max_logprob_difference < 1e-3
    assert report.passed


@pytest.mark.parametrize("case", CASES)
def test_tokens_and_log_probabilities_are_those_of_hugging_face(tmp_path: Path, case: str) -> None:
    family, config = CASES[case]
    assert_equal_to_hugging_face(compared(save_model(tmp_path / "model", family, **config)))


def test_ragged_rows_generate_what_hugging_face_generates_for_each_alone(tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path / "model", "Llama", num_key_value_heads=2)
    model, prompts = load_model(checkpoint), ragged_prompts(seed=1)

    generated = ReleaseGenerator(build(checkpoint)).generate(prompts, 10)

    for prompt, ids, logprobs in zip(prompts, generated.ids, generated.logprobs, strict=True):
        tokens = prompt.tolist()
        for candidates, values in zip(ids, logprobs, strict=True):
            wanted = logprobs_after(model, tokens)
            assert candidates[0] == wanted.argmax()
            np.testing.assert_array_equal(candidates, np.argsort(-wanted)[: len(candidates)])
            np.testing.assert_allclose(values, wanted[candidates], atol=1e-3)
            tokens.append(int(candidates[0]))
        assert len(set(tokens[len(prompt) :])) > 1, "a model that repeats one token shows nothing"


def test_sharded_checkpoint_gives_the_release_of_the_whole_one(tmp_path: Path) -> None:
    whole = save_model(tmp_path / "whole" / "model", "Qwen2", num_key_value_heads=2)
    sharded = save_model(tmp_path / "sharded" / "model", "Qwen2", num_key_value_heads=2, shard="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert_equal_to_hugging_face(compared(sharded))
    assert (build(whole) / "weights.bin").read_bytes() == (
        tmp_path / "sharded" / "model-float32" / "weights.bin"
    ).read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_checkpoints_are_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    assert_equal_to_hugging_face(compared(save_model(tmp_path / "model", "Llama", dtype=dtype)))


@pytest.mark.parametrize("scaling", [LINEAR, LLAMA3], ids=["linear", "llama3"])
def test_both_spellings_of_rope_scaling_give_the_same_release(
    tmp_path: Path, scaling: dict[str, Any]
) -> None:
    checkpoint = save_model(tmp_path / "model", "Llama", rope_parameters=scaling)
    new = build(checkpoint)
    old_scaling = {key: value for key, value in scaling.items() if key != "rope_theta"}
    rewrite_config(
        checkpoint, rope_parameters=None, rope_theta=scaling["rope_theta"], rope_scaling=old_scaling
    )
    new.rename(tmp_path / "new")
    assert_equal_to_hugging_face(compared(checkpoint))
    assert (build_again := tmp_path / "model-float32" / "weights.bin").read_bytes() == (
        tmp_path / "new" / build_again.name
    ).read_bytes()


def test_difference_is_found_and_fails_float32(tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path / "model", "Llama", num_key_value_heads=2)
    release = build(checkpoint)
    weights = np.fromfile(release / "weights.bin", np.float32)
    weights[VOCAB_ROWS:] *= np.float32(1.01)
    weights.tofile(release / "weights.bin")
    report = compare(
        release, checkpoint, ragged_prompts(), tokens=12, measured_at=NOW, reporter=SilentReporter()
    )
    assert not report.passed
    assert report.max_logprob_difference > 1e-3


VOCAB_ROWS = 320 * 64
