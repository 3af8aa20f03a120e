"""Small random releases, made without torch: a checkpoint written with numpy, then built by our own builder."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from protocol.release import Release

STOP_TOKENS = ("<|end|>", *(f"<|end-{index}|>" for index in range(8)))
"""Several, since a random model rarely comes across a single one."""
SPECIAL_TOKENS = ("<|pad|>", "<|en|>", "<|zh|>", *STOP_TOKENS)

TRANSLATION: dict[str, Any] = {
    "schema": 1,
    "template": "{source}{text}{target}",
    "languages": {
        "en": {"name": "English", "prompt": "<|en|>", "script": "Latn"},
        "zh": {"name": "Chinese", "prompt": "<|zh|>", "script": "Hans"},
    },
    "pairs": [["en", "zh"], ["zh", "en"]],
    "stop_tokens": list(STOP_TOKENS),
    "guards": {"checks": ["empty", "length"], "retries": 0},
    "limits": {
        "max_source_tokens": 96,
        "max_new_tokens": 96,
        "new_tokens_per_source_token": 1.0,
        "extra_new_tokens": 8,
    },
}


def byte_tokenizer() -> Tokenizer:
    """256 byte tokens and the special ones: any text encodes, and decodes to itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def write_checkpoint(
    directory: Path,
    *,
    seed: int = 0,
    layers: int = 2,
    hidden: int = 48,
    tokenizer: Tokenizer | None = None,
) -> Path:
    """A random Llama in Hugging Face's format: 3 heads over 1 K/V head, tied embeddings, a byte tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or byte_tokenizer()
    heads, inner, vocab = 3, 2 * hidden, tokenizer.get_vocab_size()
    head_dim = hidden // heads
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "max_position_embeddings": 256,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "vocab_size": vocab,
    }
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    tensors = {"model.embed_tokens.weight": random(vocab, hidden), "model.norm.weight": 1 + random(hidden)}
    for layer in range(layers):
        name = f"model.layers.{layer}"
        tensors |= {
            f"{name}.input_layernorm.weight": 1 + random(hidden),
            f"{name}.post_attention_layernorm.weight": 1 + random(hidden),
            f"{name}.self_attn.q_proj.weight": random(hidden, hidden),
            f"{name}.self_attn.k_proj.weight": random(head_dim, hidden),
            f"{name}.self_attn.v_proj.weight": random(head_dim, hidden),
            f"{name}.self_attn.o_proj.weight": random(hidden, hidden),
            f"{name}.mlp.gate_proj.weight": random(inner, hidden),
            f"{name}.mlp.up_proj.weight": random(inner, hidden),
            f"{name}.mlp.down_proj.weight": random(hidden, inner),
        }
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "translation.json").write_text(json.dumps(TRANSLATION))
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def build_random_release(
    directory: Path, *, name: str = "random", seed: int = 0, tokenizer: Tokenizer | None = None
) -> Release:
    """Build a release of a random checkpoint at ``directory / name``."""
    checkpoint = write_checkpoint(directory / f"{name}-checkpoint", seed=seed, tokenizer=tokenizer)
    request = BuildRequest(checkpoint=checkpoint, out=directory / name, name=name)
    return build_release(
        request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter()
    )
