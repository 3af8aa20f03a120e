"""Ernie 4.5 and Helium: Llama whose rotary embedding pairs neighboring values; the build reorders rows."""

from __future__ import annotations

from predictor.builder.families.family import Family

ERNIE = Family(
    architecture="Ernie4_5ForCausalLM",
    qkv_bias="use_bias",
    output_bias="use_bias",
    mlp_bias="use_bias",
    interleaved_rotary=True,
    defaults={"tie_word_embeddings": True, "head_dim": 128},
)
HELIUM = Family(
    architecture="HeliumForCausalLM",
    qkv_bias="attention_bias",
    mlp_bias="mlp_bias",
    interleaved_rotary=True,
    defaults={"head_dim": 128},
)
