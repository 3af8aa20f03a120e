"""Writes GGUF files of small checkpoints as llama.cpp's converter does it, with the package's names and writer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tests.predictor.builder.checkpoints import WEIGHTS

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "GraniteForCausalLM": "granite",
    "SmolLM3ForCausalLM": "smollm3",
    "HunYuanDenseV1ForCausalLM": "hunyuan-dense",
}
PERMUTED = ("llama", "granite", "smollm3")
NAMES = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
KINDS: Any = gguf.GGMLQuantizationType


def write_gguf(
    path: Path,
    checkpoint: Path,
    *,
    kind: Any = KINDS.F32,
    tensors: Mapping[str, np.ndarray] | None = None,
    more: Mapping[str, Any] | None = None,
    vocabulary: Mapping[str, Any] | None = None,
    endian: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE,
) -> Path:
    """The checkpoint's model; matrices of layers in ``kind``. ``more``: metadata to add, or (None) to leave out."""
    config = json.loads((checkpoint / "config.json").read_text())
    arch = ARCHITECTURES[config["architectures"][0]]
    writer = gguf.GGUFWriter(str(path), arch, endianess=endian)
    fields: dict[str, Any] = {
        **metadata(arch, config),
        **(vocabulary or byte_vocabulary(checkpoint)),
        **(more or {}),
    }
    for name, value in fields.items():
        if value is not None:
            add(writer, name, value)
    heads = config["num_attention_heads"], config["num_key_value_heads"]
    names = gguf.get_tensor_name_map(NAMES[arch], config["num_hidden_layers"])
    for name, values in load_file(checkpoint / WEIGHTS).items():
        target = names.get_name(hugging_face_name(name), try_suffixes=(".weight", ".bias"))
        assert target is not None, name
        if arch in PERMUTED and ("q_proj" in name or "k_proj" in name):
            values = permuted(values, heads["k_proj" in name])
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            values = values + np.float32(1)
        in_layers = values.ndim == 2 and "layers" in name
        stored = kind if in_layers else KINDS.F32
        writer.add_tensor(target, quantize(values, stored), raw_dtype=stored)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def hugging_face_name(name: str) -> str:
    return name.replace("query_layernorm", "q_norm").replace("key_layernorm", "k_norm")


def permuted(values: np.ndarray, heads: int) -> np.ndarray:
    """``LlamaModel.permute`` of the converter."""
    halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def metadata(arch: str, config: Mapping[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_parameters") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    if "full_attention" in rope:
        theta = rope["full_attention"]["rope_theta"]
    fields = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(theta),
        "attention.sliding_window": config.get("sliding_window") if arch.startswith("gemma") else None,
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "embedding_scale": config.get("embedding_multiplier"),
        "residual_scale": config.get("residual_multiplier"),
        "attention.scale": config.get("attention_multiplier"),
        "logit_scale": config.get("logits_scaling"),
    }
    if config.get("head_dim"):
        fields["attention.key_length"] = config["head_dim"]
    return {f"{arch}.{name}": value for name, value in fields.items()}


def byte_vocabulary(checkpoint: Path) -> dict[str, Any]:
    """The tokenizer of a checkpoint, of the type ``gpt2``."""
    path = checkpoint / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    tokens = [tokenizer.id_to_token(at) or f"[PAD{at}]" for at in range(tokenizer.get_vocab_size())]
    merges = json.loads(path.read_text())["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges] or None,
        "tokenizer.ggml.eos_token_id": 3,
    }


def piece_vocabulary(pieces: Sequence[tuple[str, float, int]], **more: Any) -> dict[str, Any]:
    """A tokenizer of the type ``llama``: pieces with their scores and types."""
    fields = {
        "model": "llama",
        "tokens": [piece for piece, _, _ in pieces],
        "scores": [score for _, score, _ in pieces],
        "token_type": [kind for _, _, kind in pieces],
        **more,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, list(value))
