"""Writes the 7B checkpoint of the GPU benchmarks: DeepSeek-LLM-7B's shape with random weights.

Speed does not depend on the weights' values, unless they are constant: constant bits draw less power and run faster.
So every tensor is a slice of one pool of normal random numbers, each at another offset.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HIDDEN, LAYERS, HEADS, INNER, VOCAB = 4096, 30, 32, 11008, 102_400
POSITIONS = 4096
SEQUENCE_TOKENS = 512
"""Tokens of a slot in the release; each takes 480 KiB."""

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "intermediate_size": INNER,
    "vocab_size": VOCAB,
    "max_position_embeddings": POSITIONS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}

TRANSLATION = {
    "schema": 1,
    "template": "{source}{text}{target}",
    "languages": {
        "en": {"name": "English", "prompt": "<|en|>", "script": "Latn"},
        "zh": {"name": "Chinese", "prompt": "<|zh|>", "script": "Hans"},
    },
    "pairs": [["en", "zh"], ["zh", "en"]],
    "stop_tokens": ["<|end|>"],
    "limits": {
        "max_source_tokens": 192,
        "max_new_tokens": 192,
        "new_tokens_per_source_token": 2.0,
        "extra_new_tokens": 16,
    },
}

SPREAD = 0.02
"""Standard deviation of the weights, as at the initialization of such models."""
_POOL = 1 << 25
_THREADS = 8


def write_checkpoint(directory: Path, *, layers: int = LAYERS, seed: int = 0) -> Path:
    """Write config.json, float16 safetensors (a file per layer), tokenizer.json and translation.json; 13.8 GB."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    (directory / "translation.json").write_text(json.dumps(TRANSLATION))
    _tokenizer().save(str(directory / "tokenizer.json"))
    pool = (np.random.default_rng(seed).standard_normal(_POOL, np.float32) * SPREAD).astype(np.float16)
    files = list(_files(layers))
    with ThreadPoolExecutor(_THREADS) as threads:
        jobs = [
            threads.submit(
                _write_safetensors, directory / f"model-{number:05d}.safetensors", tensors, pool, number
            )
            for number, tensors in enumerate(files)
        ]
        for job in jobs:
            job.result()
    index = {
        name: f"model-{number:05d}.safetensors" for number, tensors in enumerate(files) for name in tensors
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return directory


def _files(layers: int) -> Iterator[dict[str, tuple[int, ...]]]:
    yield {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    yield {"lm_head.weight": (VOCAB, HIDDEN)}
    for layer in range(layers):
        name = f"model.layers.{layer}"
        yield {
            f"{name}.input_layernorm.weight": (HIDDEN,),
            f"{name}.post_attention_layernorm.weight": (HIDDEN,),
            **{f"{name}.self_attn.{part}_proj.weight": (HIDDEN, HIDDEN) for part in "qkvo"},
            f"{name}.mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{name}.mlp.up_proj.weight": (INNER, HIDDEN),
            f"{name}.mlp.down_proj.weight": (HIDDEN, INNER),
        }


def _write_safetensors(
    path: Path, tensors: dict[str, tuple[int, ...]], pool: np.ndarray, number: int
) -> None:
    header, offset = {}, 0
    for name, shape in tensors.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for index, shape in enumerate(tensors.values()):
            start = 7919 * (number * len(tensors) + index) % len(pool)
            for part in _values(shape, pool, start):
                file.write(part.data)


def _values(shape: tuple[int, ...], pool: np.ndarray, start: int) -> Iterator[np.ndarray]:
    """A tensor's values in order: ones for a norm, else the pool from ``start`` on, repeated."""
    left = math.prod(shape)
    if len(shape) == 1:
        yield np.ones(left, np.float16)
        return
    while left:
        part = pool[start : start + left]
        yield part
        left -= len(part)
        start = 0


def _tokenizer() -> Tokenizer:
    """A tokenizer with as many tokens as the vocabulary; only bytes and special tokens occur."""
    special = ["<|pad|>", "<|end|>", "<|en|>", "<|zh|>"]
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"<unused-{index}>" for index in range(VOCAB - len(names))]
    tokenizer = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer
