"""SmolLM3: Llama with some layers that have no rotary embedding."""

from __future__ import annotations

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, positive
from predictor.builder.errors import BrokenCheckpoint
from predictor.builder.families.family import Family, FamilyDetails
from predictor.segment_traits import GLOBAL, UNROTATED


def _details(config: Config) -> FamilyDetails:
    layers = positive(config, "num_hidden_layers")
    rotated = config.get("no_rope_layers")  # 1 means that a layer is rotated, in spite of the name
    if rotated is None:
        interval = positive(config, "no_rope_layer_interval", default=4)
        rotated = [int((layer + 1) % interval != 0) for layer in range(layers)]
    if not isinstance(rotated, list) or len(rotated) < layers or any(each not in (0, 1) for each in rotated):
        raise BrokenCheckpoint(f"{CONFIG_FILE}: no_rope_layers must be 0 or 1 for each of {layers} layers")
    return FamilyDetails(layers=tuple(GLOBAL if each else UNROTATED for each in rotated[:layers]))


SMOLLM3 = Family(
    architecture="SmolLM3ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    mlp_bias="mlp_bias",
    window_by_default=False,
    defaults={"tie_word_embeddings": True},
    details=_details,
)
