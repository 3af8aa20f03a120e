"""HunYuan dense (Hy-MT2, HY-MT1.5): norms of queries and keys after the rotary embedding, and a larger theta."""

from __future__ import annotations

from predictor.builder.checkpoint.config_fields import Config, number, positive
from predictor.builder.checkpoint.rope import Rope
from predictor.builder.checkpoint.rope_config import rope_parameters, rope_theta
from predictor.builder.families.family import Family, FamilyDetails


def _details(config: Config) -> FamilyDetails:
    """``alpha`` is static, though its type is ``dynamic``: theta * alpha^(d / (d - 2)), d being head_dim."""
    scaling = rope_parameters(config)
    if scaling.get("rope_type", scaling.get("type")) != "dynamic" or not scaling.get("alpha"):
        return FamilyDetails()
    size = positive(
        config,
        "head_dim",
        default=positive(config, "hidden_size") // positive(config, "num_attention_heads"),
    )
    alpha = number(scaling, "alpha", where="rope_scaling.")
    return FamilyDetails(rope=Rope(theta=rope_theta(config, scaling) * alpha ** (size / (size - 2))))


HUNYUAN_DENSE = Family(
    architecture="HunYuanDenseV1ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    qk_norm=True,
    norm_after_rotary=True,
    names={"q_norm": "self_attn.query_layernorm", "k_norm": "self_attn.key_layernorm"},
    details=_details,
)
