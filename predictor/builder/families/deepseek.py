"""DeepSeek V2 and V3: multi-head latent attention, and mixtures of experts that are chosen by groups."""

from __future__ import annotations

from dataclasses import replace

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, boolean, number, positive, require
from predictor.builder.checkpoint.rope_config import read_rope, rope_parameters, yarn_magnitude
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from predictor.builder.families.family import Family, FamilyDetails
from predictor.segment_traits import LatentTraits, MixtureTraits

_GREEDY, _GROUPS = "greedy", "group_limited_greedy"


def _deepseek2(config: Config) -> FamilyDetails:
    method = config.get("topk_method")
    if method not in (_GREEDY, _GROUPS):
        raise UnsupportedModel(f"{CONFIG_FILE}: topk_method is {method!r}; supported: {_GREEDY}, {_GROUPS}")
    require(config, "scoring_func", "softmax")
    # transformers reads norm_topk_prob, and never applies it.
    require(config, "norm_topk_prob", False)
    mixture = _mixture(config)
    if mixture is not None:
        mixture = replace(mixture, normalized=False)
        if method == _GREEDY:
            mixture = replace(mixture, groups=1, chosen_groups=1)
    return _details(config, mixture)


def _deepseek3(config: Config) -> FamilyDetails:
    require(config, "topk_method", "noaux_tc")
    require(config, "scoring_func", "sigmoid")
    require(config, "rope_interleave", True)
    mixture = _mixture(config)
    if mixture is not None:
        best = 2 if mixture.groups > 1 else 1
        normalized = boolean(config, "norm_topk_prob")
        mixture = replace(mixture, sigmoid=True, biased=True, normalized=normalized, group_best=best)
    details = _details(config, mixture)
    return replace(details, extra_layers=int(config.get("num_nextn_predict_layers") or 0))


def _details(config: Config, mixture: MixtureTraits | None) -> FamilyDetails:
    require(config, "attention_bias", False)
    require(config, "mlp_bias", False)
    require(config, "moe_layer_freq", 1)
    return FamilyDetails(
        rope=read_rope(config),
        latent=_latent(config),
        mixture=mixture,
        experts_scale=number(config, "routed_scaling_factor"),
    )


def _latent(config: Config) -> LatentTraits:
    plain, rotated = positive(config, "qk_nope_head_dim"), positive(config, "qk_rope_head_dim")
    return LatentTraits(
        rank=positive(config, "kv_lora_rank"),
        query_rank=0 if config.get("q_lora_rank") is None else positive(config, "q_lora_rank"),
        plain=plain,
        rotated=rotated,
        value=positive(config, "v_head_dim"),
        scale=_scale(config, plain + rotated),
    )


def _scale(config: Config, size: int) -> float:
    """The usual factor of scores; with YaRN, times the square of its factor for all dimensions."""
    scaling = rope_parameters(config)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default" or not scaling.get("mscale_all_dim"):
        return float(size**-0.5)
    where = "rope_scaling."
    weight, factor = number(scaling, "mscale_all_dim", where=where), number(scaling, "factor", where=where)
    return float(size**-0.5) * yarn_magnitude(factor, weight) ** 2


def _mixture(config: Config) -> MixtureTraits | None:
    layers = positive(config, "num_hidden_layers")
    dense = config.get("first_k_dense_replace")
    if not isinstance(dense, int) or not 0 <= dense <= layers:
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: first_k_dense_replace must be from 0 to {layers} layers, not {dense!r}"
        )
    if dense == layers:
        return None
    experts, size = positive(config, "n_routed_experts"), positive(config, "moe_intermediate_size")
    groups = positive(config, "n_group", default=1, most=experts)
    if experts % groups:
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: n_routed_experts {experts} is not a multiple of n_group {groups}"
        )
    return MixtureTraits(
        layers=tuple(range(dense, layers)),
        experts=experts,
        chosen=positive(config, "num_experts_per_tok", most=experts),
        intermediate=size,
        shared_intermediate=size * positive(config, "n_shared_experts", default=1),
        groups=groups,
        chosen_groups=positive(config, "topk_group", default=1, most=groups),
    )


DEEPSEEK2 = Family(
    architecture="DeepseekV2ForCausalLM",
    interleaved_rotary=True,
    defaults={
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "first_k_dense_replace": 0,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "moe_intermediate_size": 1407,
        "routed_scaling_factor": 1.0,
        "topk_method": _GREEDY,
        "rms_norm_eps": 1e-6,
    },
    details=_deepseek2,
)
DEEPSEEK3 = Family(
    architecture="DeepseekV3ForCausalLM",
    interleaved_rotary=True,
    defaults={
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "first_k_dense_replace": 3,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "moe_intermediate_size": 2048,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "rms_norm_eps": 1e-6,
    },
    details=_deepseek3,
)
