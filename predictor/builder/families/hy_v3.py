"""HY V3 (Hy-MT2-30B-A3B): experts by the sigmoid of a router and a bias, and shared ones for all tokens."""

from __future__ import annotations

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, number, positive, require, spelled
from predictor.builder.checkpoint.rope import Rope
from predictor.builder.checkpoint.rope_config import read_rope, rope_parameters
from predictor.builder.errors import BrokenCheckpoint
from predictor.builder.families.family import Family, FamilyDetails
from predictor.segment_traits import MixtureTraits

_DEFAULT_THETA = 11_158_840.0
_SPARSE, _DENSE = "sparse", "dense"


def _details(config: Config) -> FamilyDetails:
    require(config, "mlp_bias", False)
    rope = _rope(config)
    layers = _mixture_layers(config)
    if not layers:
        return FamilyDetails(rope=rope, extra_layers=1)
    experts = spelled(config, ("num_experts", "num_local_experts"), default=192)
    size = positive(config, "moe_intermediate_size", default=1536)
    return FamilyDetails(
        rope=rope,
        mixture=MixtureTraits(
            layers=layers,
            experts=experts,
            chosen=positive(config, "num_experts_per_tok", default=8, most=experts),
            intermediate=size,
            shared_intermediate=size * positive(config, "num_shared_experts", default=1),
            sigmoid=True,
            biased=True,
        ),
        experts_scale=number(config, "router_scaling_factor", default=2.826),
        extra_layers=1,
    )


def _rope(config: Config) -> Rope:
    if rope_parameters(config).get("rope_theta") is None and config.get("rope_theta") is None:
        config = {**config, "rope_theta": _DEFAULT_THETA}
    return read_rope(config)


def _mixture_layers(config: Config) -> tuple[int, ...]:
    count, kinds = positive(config, "num_hidden_layers"), config.get("mlp_layer_types")
    if kinds is None:
        kinds = [_DENSE] * positive(config, "first_k_dense_replace", default=1)
        kinds += [_SPARSE] * (count - len(kinds))
    if (
        not isinstance(kinds, list)
        or len(kinds) != count
        or any(kind not in (_SPARSE, _DENSE) for kind in kinds)
    ):
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: mlp_layer_types must be {_SPARSE} or {_DENSE} for each of {count} layers"
        )
    return tuple(layer for layer, kind in enumerate(kinds) if kind == _SPARSE)


HY_V3 = Family(
    architecture="HYV3ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    qk_norm=True,
    names={"router": "mlp.router.gate.weight", "router_bias": "mlp.expert_bias", "shared": "mlp.shared_mlp"},
    defaults={"head_dim": 128, "rms_norm_eps": 1e-5},
    details=_details,
)
