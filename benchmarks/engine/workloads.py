"""The workloads and weights of all systems: pure functions of a seed, so that they are the same for all.

Lengths are fixed, since otherwise the benchmark would measure how soon each system emits an end token.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 20240501
STREAM1, STREAMS16, MIXED = "stream1", "streams16", "mixed"
NAMES = (STREAM1, STREAMS16, MIXED)


@dataclass(frozen=True)
class Request:
    """One prompt and the exact number of tokens to generate for it."""

    prompt: tuple[int, ...]
    n_out: int


@dataclass(frozen=True)
class Workload:
    """Requests that are all submitted at the start; at most `slots` of them run at once."""

    name: str
    requests: tuple[Request, ...]
    slots: int

    @property
    def tokens_out(self) -> int:
        """Useful tokens: those requested, without the padding that a static batch also computes."""
        return sum(request.n_out for request in self.requests)

    @property
    def uniform(self) -> bool:
        """Whether all outputs have one length, so that prefill time can be subtracted."""
        return len({request.n_out for request in self.requests}) == 1

    def shortened(self, n_out: int) -> Workload:
        """The same prompts with at most `n_out` tokens each, for warm-up and to time the prefill alone."""
        short = tuple(Request(request.prompt, min(n_out, request.n_out)) for request in self.requests)
        return Workload(self.name, short, self.slots)


@dataclass(frozen=True)
class Scale:
    """Sizes of the workloads: `FULL` for published figures, `SMOKE` to check that everything runs."""

    prompt: int
    out: int
    streams: int
    mixed_requests: int
    mixed_prompt: tuple[int, int]
    mixed_out: tuple[int, int]


FULL = Scale(prompt=64, out=64, streams=16, mixed_requests=48, mixed_prompt=(16, 96), mixed_out=(8, 128))
SMOKE = Scale(prompt=16, out=6, streams=4, mixed_requests=8, mixed_prompt=(4, 24), mixed_out=(2, 12))
SCALES = {"full": FULL, "smoke": SMOKE}


def workload(name: str, vocab_size: int, scale: Scale = FULL) -> Workload:
    """The workload `name`. Each has its own random generator, so selecting some does not change the others."""
    if name not in NAMES:
        raise ValueError(f"unknown workload {name!r}: choose from {', '.join(NAMES)}")
    rng = random.Random(f"{SEED}/{name}")
    if name == MIXED:
        return Workload(name, _mixed_requests(rng, vocab_size, scale), scale.streams)
    streams = 1 if name == STREAM1 else scale.streams
    requests = tuple(Request(_prompt(rng, scale.prompt, vocab_size), scale.out) for _ in range(streams))
    return Workload(name, requests, streams)


def reference_requests(vocab_size: int, scale: Scale = FULL) -> tuple[Request, ...]:
    """Prompts of different lengths; each system's greedy tokens for them are checked before it is timed."""
    rng = random.Random(f"{SEED}/reference")
    return tuple(
        Request(_prompt(rng, length, vocab_size), scale.out // 2)
        for length in (scale.prompt // 4, scale.prompt // 2, scale.prompt, scale.prompt + 9)
    )


def _mixed_requests(rng: random.Random, vocab_size: int, scale: Scale) -> tuple[Request, ...]:
    return tuple(
        Request(_prompt(rng, rng.randint(*scale.mixed_prompt), vocab_size), rng.randint(*scale.mixed_out))
        for _ in range(scale.mixed_requests)
    )


def _prompt(rng: random.Random, length: int, vocab_size: int) -> tuple[int, ...]:
    # The first few ids are special tokens in most vocabularies, which some engines handle differently.
    return tuple(rng.randrange(16, vocab_size) for _ in range(length))


@dataclass(frozen=True)
class Shape:
    """The sizes of a random Llama."""

    hidden: int = 576
    layers: int = 30
    heads: int = 9
    kv_heads: int = 3
    inner: int = 1536
    vocab: int = 49152
    positions: int = 2048


SPECIAL_TOKENS = ("<unk>", "<en>", "</s>", "<zh>")
TRANSLATION = {
    "schema": 1,
    "template": "{source}{target}{text}",
    "languages": {
        "en": {"name": "English", "prompt": "<en>", "script": "Latn"},
        "zh": {"name": "Chinese", "prompt": "<zh>", "script": "Hans"},
    },
    "pairs": [["en", "zh"], ["zh", "en"]],
    "stop_tokens": ["</s>"],
    "limits": {
        "max_source_tokens": 96,
        "max_new_tokens": 96,
        "new_tokens_per_source_token": 1.0,
        "extra_new_tokens": 8,
    },
}
SHAPE_135M = Shape()


def make_checkpoint(path: Path, shape: Shape = SHAPE_135M) -> Path:
    """Write a random Llama as a Hugging Face checkpoint, float32, without torch; an existing one is kept.

    config.json is written last and renamed into place, so that an incomplete checkpoint is never used.
    """
    from safetensors.numpy import save_file

    config_file = path / "config.json"
    if config_file.exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    save_file(_random_weights(shape), path / "model.safetensors", metadata={"format": "pt"})
    _write_text_side(path)
    partial = path / "config.json.partial"
    partial.write_text(json.dumps(_config(shape), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, config_file)
    return path


def _random_weights(shape: Shape) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEED)

    def normal(*dims: int) -> np.ndarray:
        values: np.ndarray = rng.standard_normal(dims, dtype=np.float32)
        values *= np.float32(0.02)
        return values

    hidden, kv = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
    weights = {"model.embed_tokens.weight": normal(shape.vocab, hidden)}
    for layer in range(shape.layers):
        name = f"model.layers.{layer}"
        weights |= {
            f"{name}.input_layernorm.weight": np.ones(hidden, np.float32),
            f"{name}.self_attn.q_proj.weight": normal(hidden, hidden),
            f"{name}.self_attn.k_proj.weight": normal(kv, hidden),
            f"{name}.self_attn.v_proj.weight": normal(kv, hidden),
            f"{name}.self_attn.o_proj.weight": normal(hidden, hidden),
            f"{name}.post_attention_layernorm.weight": np.ones(hidden, np.float32),
            f"{name}.mlp.gate_proj.weight": normal(shape.inner, hidden),
            f"{name}.mlp.up_proj.weight": normal(shape.inner, hidden),
            f"{name}.mlp.down_proj.weight": normal(hidden, shape.inner),
        }
    weights["model.norm.weight"] = np.ones(hidden, np.float32)
    return weights


def _write_text_side(path: Path) -> None:
    """Write a tokenizer of four tokens and a translation.json, which a release must have."""
    plain = {"special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
    added = [{"id": at, "content": token, **plain} for at, token in enumerate(SPECIAL_TOKENS)]
    vocabulary = {token: at for at, token in enumerate(SPECIAL_TOKENS)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL_TOKENS[0]}
    tokenizer = {"version": "1.0", "added_tokens": added, "model": model}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n", encoding="utf-8")
    (path / "translation.json").write_text(json.dumps(TRANSLATION, indent=2) + "\n", encoding="utf-8")


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.hidden // shape.heads,
        "intermediate_size": shape.inner,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.positions,
        "tie_word_embeddings": True,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float32",
    }
