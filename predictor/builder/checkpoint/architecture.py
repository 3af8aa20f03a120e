"""``config.json``, read strictly: what the decoder step must compute, or a refusal that names the field.

The supported architectures are in :mod:`predictor.builder.checkpoint.families`, all with full attention and a rotary
embedding without scaling, ``linear`` or ``llama3``. Any other field that changes the numbers is refused, never
approximated. Defaults are those of Hugging Face transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.builder.checkpoint.families import FAMILIES, Family
from predictor.builder.checkpoint.rope import Llama3Scaling, Rope
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from protocol.release import DecoderShape

CONFIG_FILE = "config.json"
DEFAULT_ROPE_THETA = 10_000.0  # Hugging Face's, where a config names none


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that determines the decoder step except the weights."""

    family: str
    shape: DecoderShape
    max_positions: int
    norm_eps: float
    rope: Rope
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied: bool
    """The vocabulary matrix is the embedding."""


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


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a parsed ``config.json`` describes.

    Raises:
        BrokenCheckpoint, UnsupportedModel: as in :func:`read_architecture`.
    """
    family = _family(config)
    _refuse_unsupported(config, family)
    shape = _shape(config)
    _boolean(config, "attention_bias")  # checked for the families that ignore it, too
    return Architecture(
        family=family.architecture,
        shape=shape,
        max_positions=_positive(config, "max_position_embeddings"),
        norm_eps=_number(config, "rms_norm_eps"),
        rope=_rope(config),
        qkv_bias=_bias(config, family.qkv_bias),
        output_bias=_bias(config, family.output_bias),
        mlp_bias=_bias(config, family.mlp_bias),
        qk_norm=family.qk_norm,
        tied=_boolean(config, "tie_word_embeddings"),
    )


def _family(config: Mapping[str, Any]) -> Family:
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or names[0] not in FAMILIES:
        raise UnsupportedModel(
            f"{CONFIG_FILE}: architectures is {names!r}; supported: one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[str(names[0])]


def _refuse_unsupported(config: Mapping[str, Any], family: Family) -> None:
    for field in ("quantization_config", "compression_config"):
        if config.get(field):
            raise UnsupportedModel(
                f"{CONFIG_FILE}: {field} is set: the checkpoint is quantized already; "
                "build from its float32, float16 or bfloat16 original"
            )
    _require(config, "hidden_act", "silu")
    _require(config, "partial_rotary_factor", 1.0)
    layer_types = config.get("layer_types")
    if layer_types is not None and any(kind != "full_attention" for kind in layer_types):
        raise UnsupportedModel(f"{CONFIG_FILE}: layer_types may only be full_attention in every layer")
    if _uses_window(config, family):
        raise UnsupportedModel(
            f"{CONFIG_FILE}: sliding_window is in use; supported: full attention in every layer"
        )


def _require(config: Mapping[str, Any], field: str, wanted: str | float) -> None:
    value = config.get(field)
    if value is not None and value != wanted:
        raise UnsupportedModel(f"{CONFIG_FILE}: {field} is {value!r}; supported: {wanted!r}")


def _uses_window(config: Mapping[str, Any], family: Family) -> bool:
    """Whether any layer attends to a sliding window only, by the rule of Hugging Face's Qwen configurations."""
    if config.get("sliding_window") is None or config.get("use_sliding_window") is False:
        return False
    if "use_sliding_window" not in config and not family.window_by_default:
        return False
    first_windowed_layer = config.get("max_window_layers")
    return first_windowed_layer is None or int(first_windowed_layer) < int(config.get("num_hidden_layers", 0))


def _bias(config: Mapping[str, Any], rule: bool | str) -> bool:
    return _boolean(config, rule) if isinstance(rule, str) else rule


def _shape(config: Mapping[str, Any]) -> DecoderShape:
    hidden, heads = _positive(config, "hidden_size"), _positive(config, "num_attention_heads")
    kv_heads = _positive(config, "num_key_value_heads", default=heads)
    if config.get("head_dim") is None and hidden % heads:
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
        )
    head_dim = _positive(config, "head_dim", default=hidden // heads)
    if heads % kv_heads:
        raise BrokenCheckpoint(
            f"{CONFIG_FILE}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        )
    if head_dim % 16:  # what ONNX Runtime's GroupQueryAttention rotates
        raise UnsupportedModel(f"{CONFIG_FILE}: head_dim is {head_dim}; supported: multiples of 16")
    return DecoderShape(
        layers=_positive(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_positive(config, "intermediate_size"),
        vocab=_positive(config, "vocab_size"),
    )


def _rope(config: Mapping[str, Any]) -> Rope:
    """Reads both forms: ``rope_parameters`` (transformers 5), and ``rope_theta`` with ``rope_scaling`` (before)."""
    new, old = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    if new and old and new != old:
        raise UnsupportedModel(f"{CONFIG_FILE}: rope_parameters and rope_scaling disagree; keep one of them")
    scaling = new or old
    if not isinstance(scaling, dict) or any(isinstance(value, dict) for value in scaling.values()):
        raise UnsupportedModel(
            f"{CONFIG_FILE}: rope_parameters per layer type are not supported; one set is, for all layers"
        )
    theta = _rope_theta(config, scaling)
    _require(scaling, "partial_rotary_factor", 1.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return Rope(theta=theta)
    if kind == "linear":
        return Rope(theta=theta, linear_factor=_number(scaling, "factor", where="rope_scaling."))
    if kind == "llama3":
        return Rope(theta=theta, llama3=_llama3(config, scaling))
    raise UnsupportedModel(
        f"{CONFIG_FILE}: rope_scaling.rope_type is {kind!r}; supported: default, linear, llama3"
    )


def _rope_theta(config: Mapping[str, Any], scaling: Mapping[str, Any]) -> float:
    holders = [holder for holder in (scaling, config) if holder.get("rope_theta") is not None]
    values = {_number(holder, "rope_theta") for holder in holders}
    if len(values) > 1:
        raise UnsupportedModel(f"{CONFIG_FILE}: two values of rope_theta ({sorted(values)}); keep one")
    return values.pop() if values else DEFAULT_ROPE_THETA


def _llama3(config: Mapping[str, Any], scaling: Mapping[str, Any]) -> Llama3Scaling:
    where = "rope_scaling."
    original = "original_max_position_embeddings"
    if config.get(original) is not None and scaling.get(original, config[original]) != config[original]:
        raise UnsupportedModel(f"{CONFIG_FILE}: two values of {original}; keep the one in rope_scaling")
    low, high = (_number(scaling, f"{name}_freq_factor", where=where) for name in ("low", "high"))
    if high <= low:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: rope_scaling.high_freq_factor must exceed low_freq_factor")
    return Llama3Scaling(
        factor=_number(scaling, "factor", where=where),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_position_embeddings=_positive(
            {**config, **scaling}, original, default=_positive(config, "max_position_embeddings")
        ),
    )


def _positive(config: Mapping[str, Any], field: str, *, default: int | None = None) -> int:
    value = config.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {field} must be a positive integer, not {value!r}")
    return value


def _number(config: Mapping[str, Any], field: str, *, where: str = "") -> float:
    value = config.get(field)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {where}{field} must be a positive number, not {value!r}")
    return float(value)


def _boolean(config: Mapping[str, Any], field: str) -> bool:
    value = config.get(field, False)
    if not isinstance(value, bool):
        raise BrokenCheckpoint(f"{CONFIG_FILE}: {field} must be true or false, not {value!r}")
    return value
