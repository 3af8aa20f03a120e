from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from predictor.builder.checkpoint.rope import Llama3Scaling, Rope
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from predictor.builder.families.architecture import architecture_from_config, read_architecture

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 100,
}
QWEN2 = {**CONFIG, "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {**CONFIG, "architectures": ["Qwen3ForCausalLM"], "head_dim": 32}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}


def test_llama_has_no_biases_unless_it_says_so() -> None:
    plain = architecture_from_config(CONFIG)
    assert not any((plain.qkv_bias, plain.output_bias, plain.mlp_bias, plain.qk_norm, plain.tied))
    biased = architecture_from_config({**CONFIG, "attention_bias": True, "mlp_bias": True})
    assert biased.qkv_bias
    assert biased.output_bias
    assert biased.mlp_bias


def test_qwen2_has_biases_before_attention_only() -> None:
    architecture = architecture_from_config(QWEN2)
    assert architecture.qkv_bias
    assert not architecture.output_bias


def test_qwen3_normalizes_heads() -> None:
    architecture = architecture_from_config(QWEN3)
    assert architecture.qk_norm
    assert architecture.shape.head_dim == 32


def test_without_kv_heads_every_head_has_its_own() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "num_key_value_heads"}
    assert architecture_from_config(config).shape.kv_heads == 4


@pytest.mark.parametrize(
    ("fields", "rope"),
    [
        ({}, Rope(10_000.0)),
        ({"rope_theta": 500.0}, Rope(500.0)),
        ({"rope_theta": 500.0, "rope_scaling": None}, Rope(500.0)),
        ({"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, Rope(500.0)),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, Rope(10_000.0, linear_factor=4.0)),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 7}},
            Rope(7.0, linear_factor=4.0),
        ),
        (
            {"rope_theta": 9, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
            Rope(9.0, llama3=Llama3Scaling(8.0, 1.0, 4.0, 128)),
        ),
    ],
)
def test_both_spellings_of_rope_are_read(fields: dict[str, Any], rope: Rope) -> None:
    assert architecture_from_config({**CONFIG, **fields}).rope == rope


@pytest.mark.parametrize(
    ("base", "fields", "named"),
    [
        (CONFIG, {"architectures": ["MixtralForCausalLM"]}, "architectures"),
        (CONFIG, {"architectures": []}, "LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"),
        (CONFIG, {"architectures": None}, "architectures"),
        (CONFIG, {"hidden_act": "gelu"}, "hidden_act"),
        (CONFIG, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (
            CONFIG,
            {"rope_parameters": {"rope_theta": 1.0, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
        (CONFIG, {"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, "longrope"),
        (CONFIG, {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "dynamic"),
        (CONFIG, {"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "rope_parameters"),
        (CONFIG, {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 6.0}}, "rope_theta"),
        (
            CONFIG,
            {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"factor": 3}},
            "disagree",
        ),
        (CONFIG, {"head_dim": 20}, "head_dim"),
        (CONFIG, {"sliding_window": 128}, "sliding_window"),
        (
            QWEN2,
            {"sliding_window": 128, "use_sliding_window": True, "max_window_layers": 1},
            "sliding_window",
        ),
        (QWEN3, {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ],
)
def test_what_is_not_supported_exactly_is_refused_by_name(
    base: dict[str, Any], fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        architecture_from_config({**base, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"sliding_window": 128},
        {"sliding_window": 128, "use_sliding_window": False},
        {"sliding_window": 128, "use_sliding_window": True, "max_window_layers": 2},
        {"layer_types": ["full_attention", "full_attention"]},
    ],
)
def test_sliding_window_that_no_layer_uses_is_accepted(fields: dict[str, Any]) -> None:
    assert architecture_from_config({**QWEN2, **fields}).family == "Qwen2ForCausalLM"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor"),
        ({"rope_scaling": {"type": "llama3", **LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor"),
    ],
)
def test_missing_and_impossible_fields_are_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BrokenCheckpoint, match=named):
        architecture_from_config({**CONFIG, **fields})


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_config_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(BrokenCheckpoint, match=r"config\.json"):
        read_architecture(tmp_path)
