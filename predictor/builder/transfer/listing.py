"""What a source has, and which of its files a build needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.download import RemoteRegion
from protocol.integrity import STAMPS_DIR
from protocol.release import RELEASE_FILE

CHECKPOINT_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "translation.json", "glossary.json", "adapter_config.json", "quantize_config.json", "quant_config.json",
    "hf_quant_config.json",
)  # fmt: skip
"""Files that a build reads, or refuses with a message of its own."""
_CONVERTED = {"tokenizer.model": "tokenizer.json"}
"""Files that a build reads where another one is missing."""
ADAPTER_FILES = frozenset(("adapter_config.json", "adapter_model.safetensors"))
"""Of a LoRA adapter, which `release build --adapter` merges into its base."""
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_LICENSE = re.compile(r"(LICEN[SC]E|NOTICE)(\.(txt|md))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a source."""

    name: str
    """Path relative to the source."""
    url: str
    size: int
    digest: ContentDigest | None


@dataclass(frozen=True, slots=True)
class SourceListing:
    """The files of a source, at a version that does not change while they are fetched."""

    version: str
    """The source with its commit, for people."""
    files: Sequence[SourceFile]
    headers: Callable[[], dict[str, str]] = field(default=dict)
    """Headers of each request for a file."""

    def regions(self) -> list[RemoteRegion]:
        """What is to be fetched."""
        return [
            RemoteRegion(file.name, file.url, file.size, file.digest, headers=self.headers)
            for file in self.files
        ]


def needed_names(names: Collection[str], source: str) -> list[str]:
    """Names of the files that a build needs, or all files if they are those of a release.

    Args:
        names: of all files.
        source: for messages.

    Raises:
        TransferFailed: they are no checkpoint in safetensors, no adapter and no release.
    """
    if RELEASE_FILE in names:
        return [name for name in sorted(names) if not name.startswith((f"{STAMPS_DIR}/", "."))]
    if set(names) >= ADAPTER_FILES and "config.json" not in names:
        return sorted(ADAPTER_FILES)
    needed = [
        name
        for name in sorted(names)
        if name in CHECKPOINT_FILES
        or (name in _CONVERTED and _CONVERTED[name] not in names)
        or _SHARD.fullmatch(name)
        or _LICENSE.fullmatch(name)
    ]
    if "config.json" in needed and any(name.endswith(".safetensors") for name in needed):
        return needed
    raise TransferFailed(f"{source} holds no checkpoint that can be built: {_instead(names)}")


def _instead(names: Collection[str]) -> str:
    """What there is in the place of config.json and safetensors."""
    kinds = (
        (".gguf", "its weights are GGUF: download one of these files, and build from it"),
        (".bin", "its weights are .bin files, which can run code: take a revision with safetensors"),
        (".pth", "its weights are .pth files, which can run code: take a revision with safetensors"),
    )
    for ending, reason in kinds:
        if any(name.endswith(ending) for name in names):
            return reason
    folders = sorted({name.split("/")[0] for name in names if name.count("/") == 1 and "config.json" in name})
    if folders:
        return f"it has one in {' and '.join(folders)}; only the top folder is read"
    return "config.json or safetensors are missing"
