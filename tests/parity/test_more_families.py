"""Families beyond Llama and Qwen: transformers against ONNX Runtime, and that against the reference runner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from predictor.builder.errors import PrecisionUnavailable, UnsupportedModel
from predictor.builder.plans.build import PlanRequest, build_plan
from predictor.builder.progress import SilentReporter
from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from predictor.runners.reference import open_reference_runner
from predictor.runners.select import create_runner
from protocol.release import load_release
from tests.parity.models import ragged_prompts, rewrite_config, save_model
from tests.parity.test_families import NOW, assert_equal_to_hugging_face, build, compared
from tests.predictor.runners.steps import assert_close, run_behind, run_forced, script

SLOTS = 4
WINDOW = 8
"""Shorter than most prompts."""
KV = {"num_key_value_heads": 2}
GEMMA = {**KV, "head_dim": 32, "sliding_window": WINDOW, "query_pre_attn_scalar": 20}

EXPERTS = {**KV, "head_dim": 32, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48}
QWEN_MOE = EXPERTS
HY_V3 = {**EXPERTS, "rope_parameters": {"rope_type": "default", "rope_theta": 11_158_840.0}}

DEEPSEEK = {
    "num_key_value_heads": 4, "kv_lora_rank": 32, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20,
    "first_k_dense_replace": 1, "n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 3,
    "moe_intermediate_size": 48,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 128,
    "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.7,
}  # fmt: skip

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "hunyuan-alpha": (
        "HunYuanDenseV1",
        {**KV, "head_dim": 32, "tie_word_embeddings": True,
         "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10_000.0, "alpha": 1000.0, "factor": 1.0}},
    ),
    "hunyuan-biases": ("HunYuanDenseV1", {**KV, "head_dim": 16, "attention_bias": True}),
    "mistral": ("Mistral", {**KV, "sliding_window": None}),
    "mistral-window": ("Mistral", {**KV, "head_dim": 32, "sliding_window": 256}),
    "seed-oss": ("SeedOss", {**KV, "head_dim": 16}),
    "gemma2": ("Gemma2", {**GEMMA, "query_pre_attn_scalar": 500, "attn_logit_softcapping": 5.0}),
    "gemma2-no-caps": (
        "Gemma2",
        {**GEMMA, "query_pre_attn_scalar": 500, "attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma3": (
        "Gemma3",
        {**GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
         "rope_parameters": {
             "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
             "full_attention": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 8.0},
         }},
    ),
    "phi3": ("Phi3", {**KV, "pad_token_id": 0}),
    "granite-tied": (
        "Granite",
        {**KV, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.4,
         "logits_scaling": 8.0, "tie_word_embeddings": True},
    ),
    "granite-untied": (
        "Granite",
        {**KV, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1,
         "logits_scaling": 2.0, "attention_bias": True, "mlp_bias": True},
    ),
    "smollm3": ("SmolLM3", {**KV, "no_rope_layers": [1, 0, 1], "pad_token_id": 0}),
    "ernie": ("Ernie4_5", {**KV, "head_dim": 32, "use_bias": True, "tie_word_embeddings": False}),
    "ernie-tied": ("Ernie4_5", {**KV, "head_dim": 16, "tie_word_embeddings": True}),
    "helium": ("Helium", {"num_key_value_heads": 4, "head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    "olmo2": ("Olmo2", {**KV, "pad_token_id": 0}),
    "cohere": ("Cohere", {**KV, "logit_scale": 0.5, "tie_word_embeddings": True, "pad_token_id": 0}),
    "cohere-biases": ("Cohere", {**KV, "attention_bias": True, "tie_word_embeddings": False, "pad_token_id": 0}),
    "cohere2": (
        "Cohere2",
        {**KV, "sliding_window": WINDOW, "logit_scale": 2.0, "pad_token_id": 0,
         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "qwen3-moe": ("Qwen3Moe", {**QWEN_MOE, "norm_topk_prob": True, "mlp_only_layers": [1]}),
    "qwen3-moe-sums": ("Qwen3Moe", {**QWEN_MOE, "norm_topk_prob": False, "decoder_sparse_step": 2}),
    "deepseek2": (
        "DeepseekV2",
        {**DEEPSEEK, "q_lora_rank": None, "topk_method": "greedy", "routed_scaling_factor": 2.0},
    ),
    "deepseek2-groups": (
        "DeepseekV2",
        {**DEEPSEEK, "q_lora_rank": 24, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
         "rope_parameters": YARN},
    ),
    "deepseek3": (
        "DeepseekV3", {**DEEPSEEK, "q_lora_rank": 24, "n_group": 4, "topk_group": 2, "rope_parameters": YARN}
    ),
    "deepseek3-sums": (
        "DeepseekV3", {**DEEPSEEK, "q_lora_rank": None, "n_group": 1, "topk_group": 1, "norm_topk_prob": False}
    ),
    "hy-v3": ("HYV3", {**HY_V3, "router_scaling_factor": 1.7}),
    "hy-v3-shared": (
        "HYV3",
        {**HY_V3, "num_shared_experts": 2, "router_scaling_factor": 0.9,
         "mlp_layer_types": ["sparse", "dense", "sparse"]},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, config = CASES[request.param]
    return save_model(tmp_path_factory.mktemp(request.param) / "model", family, **config)


def test_tokens_and_log_probabilities_are_those_of_hugging_face(checkpoint: Path) -> None:
    assert_equal_to_hugging_face(compared(checkpoint))


def test_the_segments_give_what_onnx_runtime_gives(checkpoint: Path) -> None:
    directory = checkpoint.with_name("model-float32")
    release = load_release(directory)
    prompts = [tuple(prompt.tolist()) for prompt in ragged_prompts()]
    batches = script(0, slots=SLOTS, steps=10, prompts=prompts)
    wanted = run_behind(OnnxRuntimeRunner(directory, release, slots=SLOTS, threads=1, spin=False), batches)
    runner = open_reference_runner(directory, release, slots=SLOTS, threads=1, max_tokens=13)
    assert_close(run_forced(runner, batches, wanted), wanted)


def test_the_text_part_of_a_gemma_that_reads_images_is_built(tmp_path: Path) -> None:
    family, config = CASES["gemma3"]
    checkpoint = save_model(tmp_path / "text" / "model", family, **config)
    text = build(checkpoint)
    whole = tmp_path / "images" / "model"
    checkpoint.rename(whole.parent.parent / "text" / "whole")
    checkpoint = tmp_path / "text" / "whole"
    tensors = load_file(checkpoint / "model.safetensors")
    renamed = {name.replace("model.", "model.language_model.", 1): values for name, values in tensors.items()}
    renamed["model.vision_tower.patch.weight"] = np.zeros((2, 2), np.float32)
    save_file(renamed, checkpoint / "model.safetensors")
    document = json.loads((checkpoint / "config.json").read_text())
    nested = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "eos_token_id": document["eos_token_id"],
        "text_config": document,
    }
    (checkpoint / "config.json").write_text(json.dumps(nested))
    images = build(checkpoint)
    assert load_release(images).family == "Gemma3ForConditionalGeneration"
    for name in ("weights.bin", "decoder.onnx", "segments/segments.json"):
        assert (images / name).read_bytes() == (text / name).read_bytes()


@pytest.mark.parametrize(
    ("family", "config", "changes", "message"),
    [
        ("Mistral", {**KV, "sliding_window": 64}, {"layer_types": ["sliding_attention"] * 3}, "layer_types"),
        ("Phi3", KV | {"pad_token_id": 0}, {"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ("Gemma2", GEMMA, {"hidden_activation": "silu"}, "hidden_activation"),
        ("Gemma2", GEMMA, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("HunYuanDenseV1", {**KV, "head_dim": 16}, {"rope_parameters": {"rope_type": "dynamic"}}, "dynamic"),
    ],
)
def test_what_a_family_does_not_do_exactly_is_refused(
    tmp_path: Path, family: str, config: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    checkpoint = save_model(tmp_path / "model", family, **config)
    rewrite_config(checkpoint, **changes)
    with pytest.raises(UnsupportedModel, match=message):
        build(checkpoint)


def test_a_window_bounds_the_longest_sequence(tmp_path: Path) -> None:
    family, config = CASES["mistral-window"]
    checkpoint = save_model(tmp_path / "model", family, **config)
    assert load_release(build(checkpoint)).limits.max_sequence_tokens == 256


def test_tensorrt_refuses_by_name_a_family_that_it_was_not_shown_with(tmp_path: Path) -> None:
    family, config = CASES["smollm3"]
    directory = build(save_model(tmp_path / "model", family, **config))
    unused: Any = None
    with pytest.raises(PrecisionUnavailable, match=r"not been shown to run SmolLM3ForCausalLM.*onnxruntime"):
        build_plan(PlanRequest(directory), unused, unused, built_at=NOW, reporter=SilentReporter())
    with pytest.raises(StartupError, match="not been shown to run SmolLM3ForCausalLM"):
        create_runner(
            PredictorConfig(release=directory, backend="tensorrt"), directory, load_release(directory)
        )
