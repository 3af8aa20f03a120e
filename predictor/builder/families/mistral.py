"""Mistral and Seed-OSS: Llama with a window that bounds the sequence, and with two fields for biases."""

from __future__ import annotations

from predictor.builder.families.family import Family

MISTRAL = Family(architecture="MistralForCausalLM", window_bounds_length=True)
"""A sequence that fits into the window attends to all its tokens, so the window is the longest sequence."""
SEED_OSS = Family(
    architecture="SeedOssForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_out_bias",
    mlp_bias="mlp_bias",
)
