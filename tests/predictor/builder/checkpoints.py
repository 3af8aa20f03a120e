"""Ways to change or break a checkpoint on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from protocol.release import Release
from tests.releases import write_checkpoint

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
WEIGHTS = "model.safetensors"


def build(checkpoint: Path, out: Path, precision: str = "float32", *, force: bool = False) -> Release:
    request = BuildRequest(checkpoint, out, precision=precision, force=force)
    return build_release(request, built_at=NOW, reporter=SilentReporter())


def edit_json(path: Path, **changes: object) -> None:
    """Set fields of a JSON file; None removes one."""
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def edit_tensors(checkpoint: Path, changes: Mapping[str, np.ndarray | None]) -> None:
    """Replace, add or (None) remove tensors."""
    tensors = {**load_file(checkpoint / WEIGHTS), **changes}
    save_file({name: values for name, values in tensors.items() if values is not None}, checkpoint / WEIGHTS)


def shard(checkpoint: Path, parts: int = 3) -> list[Path]:
    """Split the weights into ``parts`` files with an index."""
    tensors = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    placement: dict[str, str] = {}
    paths = []
    for part in range(parts):
        name = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        chosen = dict(sorted(tensors.items())[part::parts])
        save_file(chosen, checkpoint / name)
        placement |= dict.fromkeys(chosen, name)
        paths.append(checkpoint / name)
    index = {"metadata": {}, "weight_map": placement}
    (checkpoint / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return paths


def big_checkpoint(directory: Path, *, vocab: int, hidden: int, inner: int, layers: int) -> Path:
    """A tied Llama of a size that matters, filled quickly with one block of numbers over and over."""
    write_checkpoint(directory)
    block = np.random.default_rng(0).normal(0, 0.05, 1 << 16).astype(np.float32)

    def values(*shape: int) -> np.ndarray:
        return np.resize(block, shape)

    heads = hidden // 64
    edit_json(
        directory / "config.json",
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
    )
    tensors = {"model.embed_tokens.weight": values(vocab, hidden), "model.norm.weight": values(hidden)}
    for layer in range(layers):
        name = f"model.layers.{layer}"
        for part in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{name}.{part}.weight"] = values(hidden)
        for part in "qkvo":
            tensors[f"{name}.self_attn.{part}_proj.weight"] = values(hidden, hidden)
        tensors[f"{name}.mlp.gate_proj.weight"] = values(inner, hidden)
        tensors[f"{name}.mlp.up_proj.weight"] = values(inner, hidden)
        tensors[f"{name}.mlp.down_proj.weight"] = values(hidden, inner)
    save_file(tensors, directory / WEIGHTS)
    return directory


@dataclass(frozen=True, slots=True)
class Variant:
    """A decoder of one of the supported families."""

    family: str = "Llama"
    kv_heads: int = 1
    """Of 3 heads."""
    tied: bool = True
    biased: bool = False
    """Wherever the family can be; the projections of Qwen 2 always are."""

    def __str__(self) -> str:
        parts = [self.family, f"{self.kv_heads}kv", "tied" if self.tied else "untied"]
        return "-".join([*parts, "biased"] if self.biased else parts)


VARIANTS = tuple(
    Variant(family, kv_heads, tied, biased)
    for family in ("Llama", "Qwen2", "Qwen3")
    for kv_heads in (1, 3)
    for tied in (True, False)
    for biased in ((False,) if family == "Qwen2" else (False, True))
)


def variant_checkpoint(directory: Path, variant: Variant, *, layers: int = 2) -> Path:
    """A random checkpoint of ``variant``: 48 wide, 3 heads of 16, or of 32 in Qwen 3, where they need not fit."""
    write_checkpoint(directory, layers=layers)
    head_dim, hidden, heads = (32 if variant.family == "Qwen3" else 16), 48, 3
    edit_json(
        directory / "config.json",
        architectures=[f"{variant.family}ForCausalLM"],
        attention_bias=variant.biased,
        mlp_bias=variant.biased,
        head_dim=head_dim,
        num_key_value_heads=variant.kv_heads,
        tie_word_embeddings=variant.tied,
    )
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    tensors: dict[str, np.ndarray | None] = {}
    if not variant.tied:
        tensors["lm_head.weight"] = random(*load_file(directory / WEIGHTS)["model.embed_tokens.weight"].shape)
    rows = {"q": heads * head_dim, "k": variant.kv_heads * head_dim, "v": variant.kv_heads * head_dim}
    for layer in range(layers):
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        for part, count in rows.items():
            tensors[f"{attention}.{part}_proj.weight"] = random(count, hidden)
            if variant.biased or variant.family == "Qwen2":
                tensors[f"{attention}.{part}_proj.bias"] = random(count)
        tensors[f"{attention}.o_proj.weight"] = random(hidden, heads * head_dim)
        if variant.biased:
            tensors[f"{attention}.o_proj.bias"] = random(hidden)
        if variant.biased and variant.family == "Llama":
            sizes = {"gate": 2 * hidden, "up": 2 * hidden, "down": hidden}
            tensors |= {f"{mlp}.{part}_proj.bias": random(size) for part, size in sizes.items()}
        if variant.family == "Qwen3":
            tensors |= {f"{attention}.{part}_norm.weight": 1 + random(head_dim) for part in "qk"}
    edit_tensors(directory, tensors)
    return directory
