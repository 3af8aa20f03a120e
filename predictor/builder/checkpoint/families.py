"""The supported decoder families: what each architecture of Hugging Face does, one table entry per family."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Differences between the decoders of one Hugging Face architecture and the others."""

    architecture: str
    """As ``architectures`` in ``config.json`` names it."""
    qkv_bias: bool | str
    """Whether the query, key and value projections have biases; a string names the field that says so."""
    output_bias: bool | str
    """The same for the projection after attention."""
    mlp_bias: bool | str
    """The same for the three projections of the MLP."""
    qk_norm: bool
    """Whether queries and keys are normalized per head before the rotary embedding."""
    window_by_default: bool
    """Whether a ``sliding_window`` is in use where ``use_sliding_window`` is absent."""


LLAMA = Family(
    "LlamaForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    mlp_bias="mlp_bias",
    qk_norm=False,
    window_by_default=True,
)
QWEN2 = Family(
    "Qwen2ForCausalLM",
    qkv_bias=True,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    window_by_default=False,
)
QWEN3 = Family(
    "Qwen3ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    mlp_bias=False,
    qk_norm=True,
    window_by_default=False,
)

FAMILIES = {family.architecture: family for family in (LLAMA, QWEN2, QWEN3)}
"""By architecture."""
