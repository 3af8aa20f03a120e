"""OLMo 2: norms after attention and MLP instead of before, and norms of all queries and of all keys at once."""

from __future__ import annotations

from predictor.builder.families.family import Family

OLMO2 = Family(
    architecture="Olmo2ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    qk_norm=True,
    wide_qk_norm=True,
    pre_norms=False,
    post_norms=True,
    names={
        "attention_post_norm": "post_attention_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    },
)
