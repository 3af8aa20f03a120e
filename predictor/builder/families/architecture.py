"""``config.json``, read strictly: what the decoder step must compute, or a refusal that names the field.

The supported architectures are in :mod:`predictor.builder.families.table`, with rotary embeddings without scaling,
``linear``, ``llama3`` or ``yarn``. Any other field that changes the numbers is refused, never approximated. Defaults
are those of Hugging Face transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, boolean, number, positive, require
from predictor.builder.checkpoint.rope import Rope
from predictor.builder.checkpoint.rope_config import read_rope
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from predictor.builder.families.family import Family, FamilyDetails
from predictor.builder.families.table import FAMILIES
from predictor.segment_traits import LatentTraits, SegmentTraits
from protocol.release import DecoderShape


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that determines the decoder step except the weights."""

    definition: Family
    details: FamilyDetails
    shape: DecoderShape
    max_positions: int
    """Longest sequence."""
    norm_eps: float
    rope: Rope
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    tied: bool
    """The vocabulary matrix is the embedding."""

    @property
    def family(self) -> str:
        """Hugging Face architecture."""
        return self.definition.architecture

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalized."""
        return self.definition.qk_norm

    @property
    def traits(self) -> SegmentTraits:
        """What the runners of segments must know."""
        definition, details = self.definition, self.details
        return SegmentTraits(
            norm_eps=self.norm_eps,
            qkv_bias=self.qkv_bias,
            output_bias=self.output_bias,
            mlp_bias=self.mlp_bias,
            qk_norm=definition.qk_norm,
            norm_after_rotary=definition.norm_after_rotary,
            wide_qk_norm=definition.wide_qk_norm,
            pre_norms=definition.pre_norms,
            post_norms=definition.post_norms,
            centered_norms=definition.centered_norms,
            parallel=definition.parallel,
            gelu=definition.activation == "gelu_pytorch_tanh",
            attention_softcap=details.attention_softcap,
            logits_softcap=details.logits_softcap,
            window=details.window,
            layers=details.layers,
            mixture=details.mixture,
            latent=details.latent,
        )


def read_architecture(checkpoint: Path) -> Architecture:
    """Read ``config.json`` of a checkpoint directory.

    Raises:
        BrokenCheckpoint: the file is missing or not JSON, or a field is missing or has the wrong type.
        UnsupportedModel: a field asks for something that is not supported exactly.
    """
    path = checkpoint / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BrokenCheckpoint(f"{path} is missing: a Hugging Face checkpoint directory has one") from error
    except (OSError, ValueError) as error:
        raise BrokenCheckpoint(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise BrokenCheckpoint(f"{path} must hold a JSON object")
    return architecture_from_config(document)


def architecture_from_config(config: Config) -> Architecture:
    """The architecture that a parsed ``config.json`` describes.

    Raises:
        BrokenCheckpoint, UnsupportedModel: as in :func:`read_architecture`.
    """
    family = _family(config)
    config = _text_config(config, family)
    _refuse_unsupported(config, family)
    boolean(config, "attention_bias")  # checked for the families that ignore it, too
    details = family.details(config)
    shape = _shape(config) if details.latent is None else _latent_shape(config, details.latent)
    return Architecture(
        definition=family,
        details=details,
        shape=shape,
        max_positions=_max_positions(config, family),
        norm_eps=number(config, family.norm_eps_field),
        rope=details.rope or read_rope(config),
        qkv_bias=_bias(config, family.qkv_bias),
        output_bias=_bias(config, family.output_bias),
        mlp_bias=_bias(config, family.mlp_bias),
        tied=boolean(config, "tie_word_embeddings"),
    )


def _text_config(config: Config, family: Family) -> Config:
    """The fields of the decoder, with the family's defaults."""
    outer = config
    if family.text_config is not None:
        nested = config.get(family.text_config)
        if not isinstance(nested, dict):
            raise BrokenCheckpoint(f"{CONFIG_FILE}: {family.text_config} must be an object, not {nested!r}")
        tied = {"tie_word_embeddings": outer.get("tie_word_embeddings")}
        config = {**tied, **nested}
    return {**family.defaults, **{field: value for field, value in config.items() if value is not None}}


def _max_positions(config: Config, family: Family) -> int:
    positions = positive(config, "max_position_embeddings")
    if family.window_bounds_length and config.get("sliding_window") is not None:
        return min(positions, positive(config, "sliding_window"))
    return positions


def _family(config: Config) -> Family:
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or names[0] not in FAMILIES:
        raise UnsupportedModel(
            f"{CONFIG_FILE}: architectures is {names!r}; supported: one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[str(names[0])]


def _refuse_unsupported(config: Config, family: Family) -> None:
    require(config, family.activation_field, family.activation)
    require(config, "partial_rotary_factor", 1.0)
    if family.reads_layer_types:
        return
    layer_types = config.get("layer_types")
    if layer_types is not None and any(kind != "full_attention" for kind in layer_types):
        raise UnsupportedModel(f"{CONFIG_FILE}: layer_types may only be full_attention in every layer")
    if not family.window_bounds_length and _uses_window(config, family):
        raise UnsupportedModel(
            f"{CONFIG_FILE}: sliding_window is in use; supported: full attention in every layer"
        )


def _uses_window(config: Config, family: Family) -> bool:
    """Whether any layer attends to a sliding window only, by the rule of Hugging Face's Qwen configurations."""
    if config.get("sliding_window") is None or config.get("use_sliding_window") is False:
        return False
    if "use_sliding_window" not in config and not family.window_by_default:
        return False
    first_windowed_layer = config.get("max_window_layers")
    return first_windowed_layer is None or int(first_windowed_layer) < int(config.get("num_hidden_layers", 0))


def _bias(config: Config, rule: bool | str) -> bool:
    return boolean(config, rule) if isinstance(rule, str) else rule


def _shape(config: Config) -> DecoderShape:
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    kv_heads = positive(config, "num_key_value_heads", default=heads)
    if config.get("head_dim") is None and hidden % heads:
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
        )
    head_dim = positive(config, "head_dim", default=hidden // heads)
    if heads % kv_heads:
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        )
    if head_dim % 16:  # what ONNX Runtime's GroupQueryAttention rotates
        raise UnsupportedModel(f"{CONFIG_FILE}: head_dim is {head_dim}; supported: multiples of 16")
    return _decoder_shape(config, heads, kv_heads, head_dim)


def _latent_shape(config: Config, latent: LatentTraits) -> DecoderShape:
    """With one key head, whose keys are the latent and the rotated part, and are the values too."""
    size = latent.rank + latent.rotated
    if size % 16 or latent.rotated % 2:
        raise UnsupportedModel(
            f"{CONFIG_FILE}: kv_lora_rank + qk_rope_head_dim is {latent.rank} + {latent.rotated}; "
            "supported: multiples of 16 with an even qk_rope_head_dim"
        )
    return replace(_decoder_shape(config, positive(config, "num_attention_heads"), 1, size), shared_kv=True)


def _decoder_shape(config: Config, heads: int, kv_heads: int, head_dim: int) -> DecoderShape:
    return DecoderShape(
        layers=positive(config, "num_hidden_layers"),
        hidden=positive(config, "hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=positive(config, "intermediate_size"),
        vocab=positive(config, "vocab_size"),
    )
