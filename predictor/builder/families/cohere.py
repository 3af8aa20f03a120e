"""Cohere's Command and Aya (Aya Expanse, Tiny Aya, Command A Translate): attention and MLP beside each other."""

from __future__ import annotations

from dataclasses import replace

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, number, positive, require
from predictor.builder.checkpoint.rope_config import read_rope
from predictor.builder.errors import BrokenCheckpoint
from predictor.builder.families.family import Family, FamilyDetails
from predictor.segment_traits import LOCAL, UNROTATED

_KINDS = {"full_attention": UNROTATED, "sliding_attention": LOCAL}


def _cohere(config: Config) -> FamilyDetails:
    require(config, "use_qk_norm", False)
    return FamilyDetails(logits_scale=number(config, "logit_scale"))


def _cohere2(config: Config) -> FamilyDetails:
    """Layers over all tokens have no rotary embedding."""
    return FamilyDetails(
        local_rope=read_rope(config),
        layers=_layers(config),
        window=positive(config, "sliding_window"),
        logits_scale=number(config, "logit_scale"),
    )


def _layers(config: Config) -> tuple[str, ...]:
    layers, types = positive(config, "num_hidden_layers"), config.get("layer_types")
    if types is None:
        pattern = positive(config, "sliding_window_pattern", default=4)
        types = [
            "sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(layers)
        ]
    if not isinstance(types, list) or len(types) != layers or any(each not in _KINDS for each in types):
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: layer_types must be {' or '.join(_KINDS)} for each of {layers} layers"
        )
    return tuple(_KINDS[each] for each in types)


COHERE = Family(
    architecture="CohereForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    interleaved_rotary=True,
    centered_norms=True,
    parallel=True,
    norm_eps_field="layer_norm_eps",
    defaults={
        "tie_word_embeddings": True,
        "logit_scale": 0.0625,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 8192,
    },
    details=_cohere,
)
COHERE2 = replace(
    COHERE,
    architecture="Cohere2ForCausalLM",
    reads_layer_types=True,
    defaults={**COHERE.defaults, "sliding_window": 4096},
    details=_cohere2,
)
