"""Gemma 2 and 3 (TranslateGemma, MiLMMT, GemmaX2, Tower+): four norms a layer, windows, soft caps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, number, positive
from predictor.builder.checkpoint.rope import Rope
from predictor.builder.checkpoint.rope_config import read_rope, rope_parameters
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from predictor.builder.families.family import Family, FamilyDetails
from predictor.segment_traits import GLOBAL, LOCAL

_KINDS = {"full_attention": GLOBAL, "sliding_attention": LOCAL}
_PATTERN = {"gemma2": 2, "gemma3": 6}
"""Every so many layers one attends to all tokens."""
_DEFAULT_THETA, _DEFAULT_LOCAL_THETA = 1_000_000.0, 10_000.0  # of Gemma 3


def _common(config: Config, pattern: int) -> FamilyDetails:
    if config.get("use_bidirectional_attention"):
        raise UnsupportedModel(f"{CONFIG_FILE}: use_bidirectional_attention is true; supported: false")
    size = positive(config, "head_dim", default=256)
    scalar = number(config, "query_pre_attn_scalar", default=256.0)
    return FamilyDetails(
        layers=_layers(config, pattern),
        window=positive(config, "sliding_window", default=4096),
        embedding_scale=math.sqrt(positive(config, "hidden_size")),
        query_scale=math.sqrt(size / scalar),
        attention_softcap=_softcap(config, "attn_logit_softcapping"),
        logits_softcap=_softcap(config, "final_logit_softcapping"),
    )


def _layers(config: Config, pattern: int) -> tuple[str, ...]:
    layers = positive(config, "num_hidden_layers")
    types = config.get("layer_types")
    if types is None:
        pattern = positive(config, "sliding_window_pattern", default=pattern)
        types = [
            "sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(layers)
        ]
    if not isinstance(types, list) or len(types) != layers or any(each not in _KINDS for each in types):
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: layer_types must be {' or '.join(_KINDS)} for each of {layers} layers"
        )
    return tuple(_KINDS[each] for each in types)


def _softcap(config: Config, field: str) -> float:
    return 0.0 if config.get(field) is None else number(config, field)


def _gemma2(config: Config) -> FamilyDetails:
    rope = read_rope(config)
    return replace(_common(config, _PATTERN["gemma2"]), rope=rope, local_rope=rope)


def _gemma3(config: Config) -> FamilyDetails:
    """Parameters per kind of layer (transformers 5), or ``rope_theta`` and ``rope_local_base_freq`` (before)."""
    parameters = rope_parameters(config)
    if any(isinstance(value, dict) for value in parameters.values()):
        thetas = (_DEFAULT_THETA, _DEFAULT_LOCAL_THETA)
        ropes = [
            _rope({"rope_theta": theta, **(parameters.get(kind) or {})})
            for kind, theta in zip(_KINDS, thetas, strict=True)
        ]
    else:
        theta = number(config, "rope_theta", default=_DEFAULT_THETA)
        local = number(config, "rope_local_base_freq", default=_DEFAULT_LOCAL_THETA)
        ropes = [_rope({"rope_theta": theta, **parameters}), Rope(theta=local)]
    return replace(_common(config, _PATTERN["gemma3"]), rope=ropes[0], local_rope=ropes[1])


def _rope(parameters: dict[str, Any]) -> Rope:
    return read_rope({"rope_parameters": parameters})


_DEFAULTS = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
"""transformers' defaults of fields that published checkpoints leave out."""

GEMMA2 = Family(
    architecture="Gemma2ForCausalLM",
    qkv_bias="attention_bias",
    output_bias="attention_bias",
    post_norms=True,
    one_plus_norms=True,
    activation_field="hidden_activation",
    activation="gelu_pytorch_tanh",
    names={
        "attention_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    },
    reads_layer_types=True,
    defaults={**_DEFAULTS, "vocab_size": 256_000, "max_position_embeddings": 8192},
    details=_gemma2,
)
GEMMA3 = replace(
    GEMMA2,
    architecture="Gemma3ForCausalLM",
    qk_norm=True,
    defaults={**_DEFAULTS, "vocab_size": 262_208, "max_position_embeddings": 131_072},
    details=_gemma3,
)
GEMMA3_CONDITIONAL = replace(
    GEMMA3,
    architecture="Gemma3ForConditionalGeneration",
    text_config="text_config",
    prefixes=("model.language_model.", "language_model.model."),
    ignored=(
        "model.vision_tower.",
        "vision_tower.",
        "model.multi_modal_projector.",
        "multi_modal_projector.",
    ),
)
"""The text part of the model that also reads images, which is left out."""
