"""Granite: Llama with four multipliers, all of which are folded into weights."""

from __future__ import annotations

import math

from predictor.builder.checkpoint.config_fields import Config, number, positive
from predictor.builder.families.family import Family, FamilyDetails


def _details(config: Config) -> FamilyDetails:
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    size = positive(config, "head_dim", default=hidden // heads)
    return FamilyDetails(
        embedding_scale=number(config, "embedding_multiplier", default=1.0),
        residual_scale=number(config, "residual_multiplier", default=1.0),
        query_scale=number(config, "attention_multiplier", default=1.0) * math.sqrt(size),
        logits_scale=1 / number(config, "logits_scaling", default=1.0),
    )


GRANITE = Family(
    architecture="GraniteForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    mlp_bias="mlp_bias",
    details=_details,
)
