"""Qwen 2 and 3: biases of queries, keys and values, or norms of queries and keys."""

from __future__ import annotations

from predictor.builder.families.family import Family

QWEN2 = Family(architecture="Qwen2ForCausalLM", qkv_bias=True, window_by_default=False)
QWEN3 = Family(
    architecture="Qwen3ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    qk_norm=True,
    window_by_default=False,
)
