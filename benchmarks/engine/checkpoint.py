"""Reads a Hugging Face Llama checkpoint into float32 numpy arrays, for systems that need conversion.

Read by hand rather than through safetensors.numpy because numpy has no bfloat16 and most checkpoints are in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.harness import Unavailable


@dataclass(frozen=True)
class LlamaConfig:
    """The fields of config.json under one name each; plain Llama decoders only."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    positions: int
    rope_theta: float
    rms_eps: float
    tied: bool
    eos_ids: tuple[int, ...]


def read_config(checkpoint: Path) -> LlamaConfig:
    """Read config.json. Raises `Unavailable` for a decoder that the conversions do not support."""
    raw = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if raw.get("model_type") != "llama" or raw.get("attention_bias") or raw.get("mlp_bias"):
        raise Unavailable(
            f"{checkpoint.name}: only Llama decoders without biases are converted for this benchmark"
        )
    # transformers 5 writes rope_parameters; older files have rope_theta and rope_scaling.
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise Unavailable(f"{checkpoint.name}: scaled rotary embeddings are not converted for this benchmark")
    heads = int(raw["num_attention_heads"])
    eos = raw.get("eos_token_id")
    return LlamaConfig(
        hidden=int(raw["hidden_size"]),
        layers=int(raw["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(raw.get("num_key_value_heads") or heads),
        head_dim=int(raw.get("head_dim") or raw["hidden_size"] // heads),
        inner=int(raw["intermediate_size"]),
        vocab=int(raw["vocab_size"]),
        positions=int(raw["max_position_embeddings"]),
        rope_theta=float(rope.get("rope_theta", raw.get("rope_theta", 10000.0))),
        rms_eps=float(raw["rms_norm_eps"]),
        tied=bool(raw.get("tie_word_embeddings", False)),
        eos_ids=tuple(eos) if isinstance(eos, list) else () if eos is None else (int(eos),),
    )


def read_weights(checkpoint: Path) -> dict[str, np.ndarray]:
    """All tensors of all safetensors files of `checkpoint`, as float32."""
    weights: dict[str, np.ndarray] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        weights.update(_read_safetensors(file))
    if not weights:
        raise FileNotFoundError(
            f"{checkpoint} holds no *.safetensors: give a Hugging Face checkpoint directory"
        )
    return weights


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    data = np.memmap(file, dtype=np.uint8, mode="r")
    header_end = 8 + int(data[:8].view("<u8")[0])
    header: Mapping[str, Any] = json.loads(data[8:header_end].tobytes())
    return {
        name: _to_float32(
            data[header_end + entry["data_offsets"][0] : header_end + entry["data_offsets"][1]], entry
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _to_float32(raw: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    # tobytes() first: a tensor may start at an offset that its type is not aligned to.
    buffer, dtype = raw.tobytes(), entry["dtype"]
    if dtype == "BF16":
        values: np.ndarray = (np.frombuffer(buffer, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in ("F32", "F16"):
        values = np.frombuffer(buffer, {"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32, copy=False)
    else:
        raise ValueError(f"tensor of type {dtype}: only F32, F16 and BF16 checkpoints are converted")
    shaped: np.ndarray = values.reshape(entry["shape"])
    return shaped


def fingerprint(checkpoint: Path) -> str:
    """A digest of `checkpoint`, so that a converted copy of other weights is never used by mistake."""
    digest = hashlib.sha256((checkpoint / "config.json").read_bytes())
    for file in sorted(checkpoint.glob("*.safetensors")):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def converted(checkpoint: Path, cache: Path, kind: str) -> Path:
    """Path of the copy of `checkpoint` that is converted to `kind`."""
    return cache / f"{kind}-{fingerprint(checkpoint)}"
