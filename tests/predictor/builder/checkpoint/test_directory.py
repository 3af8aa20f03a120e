"""What people give instead of a checkpoint, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders

from predictor.builder.checkpoint.tensors import open_checkpoint
from predictor.builder.errors import BuildError
from tests.predictor.builder.checkpoints import WEIGHTS, build, edit_tensors, shard

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
Q_PROJ = "model.layers.0.self_attn.q_proj"


def renamed(name: str) -> Callable[[Path], Path]:
    def change(checkpoint: Path) -> Path:
        (checkpoint / WEIGHTS).rename(checkpoint / name)
        return checkpoint

    return change


def pointer(name: str) -> Callable[[Path], Path]:
    def change(checkpoint: Path) -> Path:
        (checkpoint / name).write_bytes(POINTER)
        return checkpoint

    return change


def file_beside(name: str) -> Callable[[Path], Path]:
    def change(checkpoint: Path) -> Path:
        (checkpoint.parent / name).write_bytes(b"GGUF")
        return checkpoint.parent / name

    return change


def with_adapter(checkpoint: Path) -> Path:
    (checkpoint / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    return checkpoint


def without_index(checkpoint: Path) -> Path:
    shard(checkpoint)
    (checkpoint / f"{WEIGHTS}.index.json").unlink()
    return checkpoint


def packed(checkpoint: Path) -> Path:
    edit_tensors(checkpoint, {f"{Q_PROJ}.weight": None, f"{Q_PROJ}.qweight": np.zeros((8, 8), np.int32)})
    return checkpoint


def quantized_by_mlx(checkpoint: Path) -> Path:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "quantization": {"bits": 4}}))
    return checkpoint


def slow_tokenizer(checkpoint: Path) -> Path:
    (checkpoint / "tokenizer.json").rename(checkpoint / "tokenizer.model")
    return checkpoint


def broken_tokenizer(checkpoint: Path) -> Path:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    return checkpoint


GIVEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "hub name": (
        lambda checkpoint: Path("Qwen/Qwen3-1.7B"),
        r"no such directory; .* hf download Qwen/Qwen3-1.7B",
    ),
    "no directory": (lambda checkpoint: checkpoint / "a" / "b", r"no such directory$"),
    "GGUF file": (file_beside("model.gguf"), r"model\.gguf is a GGUF file"),
    "other file": (
        file_beside("model.safetensors"),
        r"is no directory: name the one that holds config\.json",
    ),
    "GGUF in a directory": (renamed("model-q4.gguf"), r"but model-q4\.gguf: GGUF is not read"),
    "pickle": (
        renamed("pytorch_model.bin"),
        r"but pytorch_model\.bin: reading it can run code.*save_pretrained",
    ),
    "pickled shards": (renamed("pytorch_model-00001-of-00002.bin"), r"reading it can run code"),
    "consolidated": (
        renamed("consolidated.safetensors"),
        r"consolidated\.safetensors, whose tensors have other",
    ),
    "no weights": (renamed("unrelated.txt"), r"neither .*: save the checkpoint as safetensors"),
    "no index": (without_index, r"model-00001-of-00003\.safetensors: the index of the shards is missing"),
    "pointer for weights": (pointer(WEIGHTS), rf"{WEIGHTS} is a Git LFS pointer.*git lfs pull"),
    "pointer for the tokenizer": (pointer("tokenizer.json"), r"tokenizer\.json is a Git LFS pointer"),
    "adapter": (with_adapter, r"LoRA adapter, which would be ignored: name it with --adapter"),
    "GPTQ without its field": (packed, rf"it has {Q_PROJ}\.qweight instead of .*GPTQ or AWQ"),
    "MLX": (quantized_by_mlx, r"quantization is set: the checkpoint is quantized already"),
    "slow tokenizer": (slow_tokenizer, r"tokenizer\.json is missing; tokenizer\.model is there"),
    "broken tokenizer": (broken_tokenizer, r"comes back from the tokenizer as .*published with"),
}


@pytest.mark.parametrize("given", GIVEN)
def test_what_is_no_checkpoint_is_named_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, given: str
) -> None:
    change, message = GIVEN[given]
    out = tmp_path / "releases" / "release"
    out.parent.mkdir()
    with pytest.raises(BuildError, match=message):
        build(change(checkpoint), out)
    assert list(out.parent.iterdir()) == []


def test_a_small_real_file_is_no_pointer(checkpoint: Path) -> None:
    assert set(open_checkpoint(checkpoint).tensors) == set(load_file(checkpoint / WEIGHTS))
