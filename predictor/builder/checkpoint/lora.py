"""A LoRA adapter in peft's form, to be merged into its base: W + scale · B A, in float32.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), section 4.1. The scale is alpha / r, or
alpha / sqrt(r) where the configuration says ``use_rslora`` (Kalajdzievski 2023). What peft knows besides, and would
change the result, is refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from predictor.builder.checkpoint.directory import ADAPTER_FILE, check_no_pointer
from predictor.builder.checkpoint.stored_tensors import Float32Array
from predictor.builder.checkpoint.tensors import Checkpoint, read_tensors
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "use_dora": (False,),
    "use_qalora": (False,),
}
"""Fields of the configuration that change the result, with the values that do not."""


@dataclass(frozen=True, slots=True)
class LowRankUpdate:
    """What an adapter adds to one matrix."""

    a: Float32Array
    """[r, columns]"""
    b: Float32Array
    """[rows, r]"""
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return (self.b.shape[0], self.a.shape[1])

    def rows(self, first: int, count: int) -> Float32Array:
        """The rows ``[first, first + count)`` of scale · B A."""
        product: Float32Array = (self.b[first : first + count] @ self.a) * np.float32(self.scale)
        return product


def merge_adapter(checkpoint: Checkpoint, directory: Path) -> Checkpoint:
    """A checkpoint whose matrices are read with an adapter merged into them.

    Args:
        checkpoint: the adapter's base.
        directory: of the adapter.

    Raises:
        BrokenCheckpoint: the adapter is broken, or of another base.
        UnsupportedModel: it is no LoRA adapter, or has what is not merged exactly.
    """
    updates = load_adapter(directory)
    for name, update in updates.items():
        entry = checkpoint.tensors.get(name)
        if entry is None or entry.shape != update.shape:
            found = "no such tensor" if entry is None else f"one of shape {list(entry.shape)}"
            raise BrokenCheckpoint(
                f"{directory}: the adapter is of another base: it changes {name} of shape {list(update.shape)}, and "
                f"{checkpoint.directory} has {found}"
            )
    files = (*checkpoint.files, directory / ADAPTER_FILE, directory / ADAPTER_WEIGHTS)
    return replace(checkpoint, files=files, updates=updates)


def load_adapter(directory: Path) -> dict[str, LowRankUpdate]:
    """Read an adapter: the update of each matrix, by the name of the checkpoint's tensor.

    Args:
        directory: with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        BrokenCheckpoint: a file is missing or broken, or a matrix has one factor alone.
        UnsupportedModel: it is no LoRA adapter, or has what is not merged exactly.
    """
    config = _config(directory)
    factors: dict[str, dict[str, Float32Array]] = {}
    for name, values in _tensors(directory).items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise UnsupportedModel(
                f"{directory / ADAPTER_WEIGHTS}: tensor {name} is no factor of a matrix, and would be ignored: merge "
                "the adapter with peft (merge_and_unload, then save_pretrained), and build from the result"
            )
        factors.setdefault(match["module"], {})[match["side"]] = values
    if not factors:
        raise BrokenCheckpoint(f"{directory / ADAPTER_WEIGHTS} holds no tensor")
    return {f"{module}.weight": _update(directory, module, both, config) for module, both in factors.items()}


def _config(directory: Path) -> dict[str, Any]:
    path = directory / ADAPTER_FILE
    check_no_pointer(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BrokenCheckpoint(
            f"{path} is missing: --adapter names a directory that peft has saved"
        ) from error
    except (OSError, ValueError) as error:
        raise BrokenCheckpoint(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UnsupportedModel(f"{path}: its peft_type must be LORA; others are not merged")
    for name, neutral in _NEUTRAL.items():
        if name in config and config[name] not in neutral:
            raise UnsupportedModel(
                f"{path}: {name} is {config[name]!r}, which is not merged exactly: merge the adapter with peft "
                "(merge_and_unload, then save_pretrained), and build from the result"
            )
    for name in ("r", "lora_alpha"):
        if not isinstance(config.get(name), (int, float)) or config[name] <= 0:
            raise BrokenCheckpoint(f"{path}: {name} must be a positive number")
    return config


def _tensors(directory: Path) -> dict[str, Float32Array]:
    path = directory / ADAPTER_WEIGHTS
    if not path.exists():
        pickled = directory / "adapter_model.bin"
        there = f", but {pickled.name}: reading it can run code that it contains" if pickled.exists() else ""
        raise BrokenCheckpoint(f"{path} is missing{there}; save the adapter as safetensors")
    found = read_tensors(path)
    for name, values in found.items():
        if values.ndim != 2:
            raise BrokenCheckpoint(f"{path}: tensor {name} is no matrix")
    return found


def _update(
    directory: Path, module: str, both: Mapping[str, Float32Array], config: Mapping[str, Any]
) -> LowRankUpdate:
    """The update of one matrix.

    Args:
        directory: of the adapter, for messages.
        module: that the matrix belongs to.
        both: the factors, by ``A`` and ``B``.
        config: of the adapter.
    """
    path = directory / ADAPTER_WEIGHTS
    if set(both) != {"A", "B"}:
        raise BrokenCheckpoint(f"{path}: {module} has one of lora_A and lora_B alone: fetch it again")
    rank = both["A"].shape[0]
    told = _of_module(config, "rank_pattern", module, config["r"])
    if both["B"].shape[1] != rank or rank != told:
        raise BrokenCheckpoint(
            f"{path}: the factors of {module} have ranks {rank} and {both['B'].shape[1]}, but "
            f"{ADAPTER_FILE} says {told}: the files are of different adapters"
        )
    alpha = _of_module(config, "alpha_pattern", module, config["lora_alpha"])
    return LowRankUpdate(
        both["A"], both["B"], alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    )


def _of_module(config: Mapping[str, Any], field: str, module: str, default: float) -> float:
    """The value of a module: of the first pattern that ends its name, as peft compares them."""
    patterns: Mapping[str, float] = config.get(field) or {}
    return next(
        (value for key, value in patterns.items() if re.fullmatch(rf"(?:.*\.)?(?:{key})", module)), default
    )
