"""Qwen 3 with experts (Qwen3-30B-A3B): layers whose MLP is a mixture, chosen by the softmax of a router."""

from __future__ import annotations

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, boolean, positive, spelled
from predictor.builder.errors import BrokenCheckpoint
from predictor.builder.families.family import Family, FamilyDetails
from predictor.segment_traits import MixtureTraits


def _details(config: Config) -> FamilyDetails:
    """Fields have two spellings: ``num_local_experts`` is that of transformers 5."""
    layers = _mixture_layers(config)
    if not layers:
        return FamilyDetails()
    experts = spelled(config, ("num_experts", "num_local_experts"), default=128)
    return FamilyDetails(
        mixture=MixtureTraits(
            layers=layers,
            experts=experts,
            chosen=positive(config, "num_experts_per_tok", default=8, most=experts),
            intermediate=positive(config, "moe_intermediate_size", default=768),
            normalized=boolean(config, "norm_topk_prob"),
        )
    )


def _mixture_layers(config: Config) -> tuple[int, ...]:
    count, step = positive(config, "num_hidden_layers"), positive(config, "decoder_sparse_step", default=1)
    dense = config.get("mlp_only_layers") or []
    if not isinstance(dense, list) or any(not isinstance(layer, int) for layer in dense):
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: mlp_only_layers must be a list of numbers of layers, not {dense!r}"
        )
    return tuple(layer for layer in range(count) if layer not in dense and (layer + 1) % step == 0)


QWEN3_MOE = Family(
    architecture="Qwen3MoeForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    qk_norm=True,
    window_by_default=False,
    details=_details,
)
