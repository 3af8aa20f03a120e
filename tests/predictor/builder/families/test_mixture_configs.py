"""What the families with experts or latent attention read from ``config.json``, and refuse in it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from predictor.builder.checkpoint.rope import YarnScaling
from predictor.builder.errors import BrokenCheckpoint, BuildError, UnsupportedModel
from predictor.builder.families.architecture import architecture_from_config

COMMON: dict[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "rms_norm_eps": 1e-5,
    "vocab_size": 100,
}
QWEN = {**COMMON, "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8}
HY = {**COMMON, "architectures": ["HYV3ForCausalLM"], "num_experts": 8, "head_dim": 32}
LATENT = {
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 16,
    "v_head_dim": 20,
    "q_lora_rank": None,
}
GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2}
DEEPSEEK2 = {**COMMON, **LATENT, **GROUPS, "architectures": ["DeepseekV2ForCausalLM"]}
DEEPSEEK3 = {**DEEPSEEK2, "architectures": ["DeepseekV3ForCausalLM"], "first_k_dense_replace": 1}
COHERE = {**COMMON, "architectures": ["CohereForCausalLM"]}
YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "mscale": 0.5,
    "mscale_all_dim": 1.0,
}


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({}, (0, 1, 2, 3)),
        ({"decoder_sparse_step": 2}, (1, 3)),
        ({"mlp_only_layers": [0, 3]}, (1, 2)),
        ({"num_experts": None, "num_local_experts": 8}, (0, 1, 2, 3)),
    ],
)
def test_layers_of_qwen_that_are_mixtures(fields: dict[str, Any], layers: tuple[int, ...]) -> None:
    mixture = architecture_from_config({**QWEN, **fields}).traits.mixture
    assert mixture is not None
    assert (mixture.layers, mixture.experts, mixture.chosen, mixture.normalized) == (layers, 8, 2, False)


def test_qwen_without_mixtures_is_dense() -> None:
    traits = architecture_from_config({**QWEN, "mlp_only_layers": [0, 1, 2, 3]}).traits
    assert traits.mixture is None


def test_first_layer_of_hy_v3_is_dense_unless_it_says_otherwise() -> None:
    mixture = architecture_from_config(HY).traits.mixture
    assert mixture is not None
    assert (mixture.layers, mixture.shared_intermediate) == ((1, 2, 3), 48)
    assert architecture_from_config(HY).rope.theta == 11_158_840.0


def test_latent_attention_has_one_key_head_of_latent_and_rotated_part() -> None:
    architecture = architecture_from_config({**DEEPSEEK3, "rope_scaling": YARN, "rope_theta": 9.0})
    shape = architecture.shape
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.shared_kv) == (4, 1, 48, True)
    latent = architecture.traits.latent
    assert latent is not None
    assert latent.query_rank == 0
    # The factor of scores is DeepSeek's, that of the tables YaRN's quotient of the two.
    whole, half = 0.1 * math.log(40) + 1, 0.05 * math.log(40) + 1
    assert latent.scale == pytest.approx(40**-0.5 * whole**2)
    assert architecture.rope.yarn == YarnScaling(40.0, 4096, table_factor=half / whole)


def test_groups_of_deepseek_are_used_where_its_method_names_them() -> None:
    greedy = architecture_from_config(DEEPSEEK2).traits.mixture
    limited = architecture_from_config({**DEEPSEEK2, "topk_method": "group_limited_greedy"}).traits.mixture
    third = architecture_from_config(DEEPSEEK3).traits.mixture
    assert greedy is not None
    assert limited is not None
    assert third is not None
    assert (greedy.groups, limited.groups, limited.chosen_groups, limited.group_best) == (1, 4, 2, 1)
    assert (third.sigmoid, third.biased, third.normalized, third.group_best) == (True, True, True, 2)


@pytest.mark.parametrize(
    ("base", "fields", "error", "named"),
    [
        (QWEN, {"num_local_experts": 16}, UnsupportedModel, "num_experts and num_local_experts disagree"),
        (QWEN, {"num_experts_per_tok": 9}, BrokenCheckpoint, "num_experts_per_tok must be at most 8, not 9"),
        (QWEN, {"mlp_only_layers": "none"}, BrokenCheckpoint, "mlp_only_layers must be a list"),
        (QWEN, {"norm_topk_prob": 1}, BrokenCheckpoint, "norm_topk_prob must be true or false"),
        (HY, {"mlp_layer_types": ["dense"]}, BrokenCheckpoint, "mlp_layer_types must be sparse or dense"),
        (HY, {"mlp_bias": True}, UnsupportedModel, "mlp_bias is True"),
        (DEEPSEEK2, {"topk_method": "random"}, UnsupportedModel, "topk_method is 'random'"),
        (DEEPSEEK2, {"norm_topk_prob": True}, UnsupportedModel, "norm_topk_prob is True"),
        (DEEPSEEK2, {"scoring_func": "sigmoid"}, UnsupportedModel, "scoring_func is 'sigmoid'"),
        (DEEPSEEK2, {"qk_rope_head_dim": 10}, UnsupportedModel, "kv_lora_rank . qk_rope_head_dim is 32 . 10"),
        (DEEPSEEK3, {"rope_interleave": False}, UnsupportedModel, "rope_interleave is False"),
        (DEEPSEEK3, {"attention_bias": True}, UnsupportedModel, "attention_bias is True"),
        (DEEPSEEK3, {"n_group": 3}, BrokenCheckpoint, "n_routed_experts 8 is not a multiple of n_group 3"),
        (DEEPSEEK3, {"topk_group": 5}, BrokenCheckpoint, "topk_group must be at most 4, not 5"),
        (DEEPSEEK3, {"first_k_dense_replace": 5}, BrokenCheckpoint, "first_k_dense_replace must be from 0"),
        (
            DEEPSEEK3,
            {"rope_scaling": {"type": "yarn", "factor": 2}},
            BrokenCheckpoint,
            "original_max_position",
        ),
        (COHERE, {"use_qk_norm": True}, UnsupportedModel, "use_qk_norm is True"),
    ],
)
def test_what_is_not_done_exactly_is_refused_by_name(
    base: dict[str, Any], fields: dict[str, Any], error: type[BuildError], named: str
) -> None:
    with pytest.raises(error, match=named):
        architecture_from_config({**base, **fields})
