"""Checks what stands where a checkpoint should be, before anything of it is read: names what it is instead."""

from __future__ import annotations

import re
from pathlib import Path

from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
ADAPTER_FILE = "adapter_config.json"
CONVERT = (
    "save it as safetensors where you trust the file: "
    "transformers' AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)"
)

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def check_directory(path: Path, *, with_adapter: bool = False) -> None:
    """Refuse what is no checkpoint directory, or one that is known not to be built exactly.

    Args:
        path: as the command line has it.
        with_adapter: whether the command line names the adapter that is merged into it.

    Raises:
        BrokenCheckpoint: there is no directory, or a file of it is a Git LFS pointer.
        UnsupportedModel: it is an adapter.
    """
    if not path.exists():
        hint = f"; if it is a name on a hub, download it first: hf download {path} --local-dir DIR"
        raise BrokenCheckpoint(f"{path}: no such directory{hint if _HUB_NAME.fullmatch(str(path)) else ''}")
    if not path.is_dir():
        raise BrokenCheckpoint(
            f"{path} is no directory: name the one that holds config.json and safetensors, or a .gguf file"
        )
    for name in ("config.json", "tokenizer.json", "tokenizer.model", "model.safetensors.index.json"):
        check_no_pointer(path / name)
    if (path / ADAPTER_FILE).exists() and not with_adapter:
        raise UnsupportedModel(
            f"{path / ADAPTER_FILE}: this is a LoRA adapter, which would be ignored: name it with --adapter {path}, "
            "and its base as CHECKPOINT (the same directory, if both are in it)"
        )


def check_no_pointer(path: Path) -> None:
    """Refuse a file that Git LFS has not replaced by its content; other files, and missing ones, pass.

    Raises:
        BrokenCheckpoint: it is a pointer.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise BrokenCheckpoint(
                f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` there"
            )


def no_weights(directory: Path) -> BrokenCheckpoint:
    """The error for a directory without ``model.safetensors`` and without an index: what weights it has instead."""
    names = sorted(path.name for path in directory.iterdir() if path.is_file())

    def first(pattern: str) -> str | None:
        return next((name for name in names if re.fullmatch(pattern, name)), None)

    plain = f"{directory} has neither model.safetensors nor model.safetensors.index.json"
    if (name := first(r".*\.gguf")) is not None:
        return BrokenCheckpoint(f"{plain}, but {name} and other GGUF files: name one of them as CHECKPOINT")
    if (name := first(r"(pytorch_model|model|consolidated).*\.(bin|pth|pt)")) is not None:
        return BrokenCheckpoint(f"{plain}, but {name}: reading it can run code that it contains; {CONVERT}")
    if (name := first(r"model-\d+-of-\d+\.safetensors")) is not None:
        return BrokenCheckpoint(f"{plain}, but {name}: the index of the shards is missing, fetch it too")
    if (name := first(r".*\.safetensors")) is not None:
        return BrokenCheckpoint(
            f"{plain}, but {name}, whose tensors have other names: take the checkpoint in Hugging Face's form"
        )
    return BrokenCheckpoint(f"{plain}: save the checkpoint as safetensors")


def gguf_in(directory: Path) -> Path | None:
    """The GGUF file of a directory, if it has one and no more."""
    found = list(directory.glob("*.gguf"))
    return found[0] if len(found) == 1 else None
