"""Llama: DeepSeek LLM, R1-Distill-Llama, Llama 2 and 3, EuroLLM, SalamandraTA, TowerInstruct, SmolLM2."""

from __future__ import annotations

from predictor.builder.families.family import Family

LLAMA = Family(
    architecture="LlamaForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    mlp_bias="mlp_bias",
)
