"""Reads the parameters of the rotary embedding from ``config.json``."""

from __future__ import annotations

import math
from typing import Any

from predictor.builder.checkpoint.config_fields import CONFIG_FILE, Config, number, positive, require
from predictor.builder.checkpoint.rope import Llama3Scaling, Rope, YarnScaling
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

DEFAULT_ROPE_THETA = 10_000.0  # Hugging Face's, where a config names none


def rope_parameters(config: Config) -> dict[str, Any]:
    """Both forms: ``rope_parameters`` (transformers 5), and ``rope_scaling`` (before).

    Raises:
        UnsupportedModel: they disagree.
    """
    new, old = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    if new and old and new != old:
        raise UnsupportedModel(f"{CONFIG_FILE}: rope_parameters and rope_scaling disagree; keep one of them")
    scaling: dict[str, Any] = new or old
    return scaling


def read_rope(config: Config) -> Rope:
    """The rotary embedding of all layers, without scaling, ``linear``, ``llama3`` or ``yarn``.

    Raises:
        BrokenCheckpoint: a field is missing or has the wrong type.
        UnsupportedModel: it is of another kind, or differs between layers.
    """
    scaling = rope_parameters(config)
    if not isinstance(scaling, dict) or any(isinstance(value, dict) for value in scaling.values()):
        raise UnsupportedModel(
            f"{CONFIG_FILE}: rope_parameters per layer type are not supported; one set is, for all layers"
        )
    theta = rope_theta(config, scaling)
    require(scaling, "partial_rotary_factor", 1.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return Rope(theta=theta)
    if kind == "linear":
        return Rope(theta=theta, linear_factor=number(scaling, "factor", where="rope_scaling."))
    if kind == "llama3":
        return Rope(theta=theta, llama3=_llama3(config, scaling))
    if kind == "yarn":
        return Rope(theta=theta, yarn=_yarn(config, scaling))
    raise UnsupportedModel(
        f"{CONFIG_FILE}: rope_scaling.rope_type is {kind!r}; supported: default, linear, llama3, yarn"
    )


def yarn_magnitude(factor: float, weight: float = 1.0) -> float:
    """YaRN's factor of scores for sequences that are ``factor`` times as long, section 3.4 of its paper."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def rope_theta(config: Config, scaling: Config) -> float:
    """``rope_theta``, from either place.

    Raises:
        UnsupportedModel: the two disagree.
    """
    holders = [holder for holder in (scaling, config) if holder.get("rope_theta") is not None]
    values = {number(holder, "rope_theta") for holder in holders}
    if len(values) > 1:
        raise UnsupportedModel(f"{CONFIG_FILE}: two values of rope_theta ({sorted(values)}); keep one")
    return values.pop() if values else DEFAULT_ROPE_THETA


def _yarn(config: Config, scaling: Config) -> YarnScaling:
    where, given = (
        "rope_scaling.",
        {"mscale", "mscale_all_dim"} <= {key for key, value in scaling.items() if value},
    )
    factor = number(scaling, "factor", where=where)
    table_factor = yarn_magnitude(factor)
    if given:
        weights = (number(scaling, name, where=where) for name in ("mscale", "mscale_all_dim"))
        above, below = (yarn_magnitude(factor, weight) for weight in weights)
        table_factor = above / below
    return YarnScaling(
        factor=factor,
        original_max_position_embeddings=positive(scaling, "original_max_position_embeddings"),
        table_factor=number(scaling, "attention_factor", where=where, default=table_factor),
        beta_fast=number(scaling, "beta_fast", where=where, default=32.0),
        beta_slow=number(scaling, "beta_slow", where=where, default=1.0),
        truncate=scaling.get("truncate") is not False,
    )


def _llama3(config: Config, scaling: Config) -> Llama3Scaling:
    where = "rope_scaling."
    original = "original_max_position_embeddings"
    if config.get(original) is not None and scaling.get(original, config[original]) != config[original]:
        raise UnsupportedModel(f"{CONFIG_FILE}: two values of {original}; keep the one in rope_scaling")
    low, high = (number(scaling, f"{name}_freq_factor", where=where) for name in ("low", "high"))
    if high <= low:
        raise BrokenCheckpoint(f"{CONFIG_FILE}: rope_scaling.high_freq_factor must exceed low_freq_factor")
    return Llama3Scaling(
        factor=number(scaling, "factor", where=where),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_position_embeddings=positive(
            {**config, **scaling}, original, default=positive(config, "max_position_embeddings")
        ),
    )
