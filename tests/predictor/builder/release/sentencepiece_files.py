"""Trains small SentencePiece models of the kinds that published checkpoints have."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer

from predictor.builder.int8 import sample_texts
from predictor.builder.release.sentencepiece_check import SENTENCES

SHOP_TEXTS = [
    line
    for name, texts in sorted(vars(sample_texts).items())
    if isinstance(texts, str) and name.startswith("_") and not name.startswith("__")
    for line in texts.split("\n")
]
WITHOUT_ANGLE = tuple(text.replace("<", "") for text in SHOP_TEXTS)
"""With nothing that a control token is written with."""
CORPUS = [*SHOP_TEXTS, *SENTENCES, *SENTENCES]
VOCAB = 1400
IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
DEFINED = ["<b>", "</b>", "▁▁", "▁▁▁", "▁▁▁▁", "\n\n", "\t", "<unused0>", "<|im_start|>"]
GEMMA = {
    "add_dummy_prefix": False,
    "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
    "pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>",
    "control_symbols": ["<start_of_turn>", "<end_of_turn>"],
    "user_defined_symbols": DEFINED,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How a model is trained, and what stands beside it."""

    training: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


KINDS = {
    "llama": Kind({"model_type": "bpe", "byte_fallback": True, "split_digits": True, **IDENTITY}),
    "llama, legacy false": Kind(
        {"model_type": "bpe", "byte_fallback": True, **IDENTITY},
        {"tokenizer_class": "LlamaTokenizer", "legacy": False},
    ),
    "llama, user-defined": Kind(
        {"model_type": "bpe", "byte_fallback": True, "user_defined_symbols": DEFINED, **IDENTITY}
    ),
    "llama, user-defined, legacy false": Kind(
        {"model_type": "bpe", "byte_fallback": True, "user_defined_symbols": DEFINED, **IDENTITY}, {"legacy": False}
    ),
    "llama, no prefix": Kind({"model_type": "bpe", "byte_fallback": True, **IDENTITY}, {"add_prefix_space": False}),
    "gemma": Kind(
        {"model_type": "bpe", "byte_fallback": True, **IDENTITY, **GEMMA}, {"tokenizer_class": "GemmaTokenizer"}
    ),
    "bpe, no bytes": Kind({"model_type": "bpe", "normalization_rule_name": "nfkc", "character_coverage": 0.98}),
    "unigram": Kind({"model_type": "unigram", "byte_fallback": True, **IDENTITY}),
    "unigram, nmt_nfkc": Kind({"model_type": "unigram", "byte_fallback": True, "character_coverage": 0.98}),
    "unigram, no bytes": Kind(
        {"model_type": "unigram", "character_coverage": 0.98, "user_defined_symbols": ["<b>", "[SEP]"]},
        {"legacy": False},
    ),
}  # fmt: skip
"""By name; normalized with ``nmt_nfkc`` and trimmed where nothing else is said, as the trainer does it."""


def train(corpus: Iterable[str] = CORPUS, **options: Any) -> bytes:
    """The content of a ``tokenizer.model``."""
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=written,
        minloglevel=2,
        hard_vocab_limit=False,
        **{"vocab_size": VOCAB, "num_threads": 1, **options},
    )
    return written.getvalue()


@cache
def trained(kind: str) -> bytes:
    """The model of a kind."""
    return train(**KINDS[kind].training)


def write_model(directory: Path, kind: str, **settings: object) -> Path:
    """Write the model of a kind into a directory, and ``tokenizer_config.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.model").write_bytes(trained(kind))
    (directory / "tokenizer_config.json").write_text(json.dumps({**KINDS[kind].settings, **settings}))
    return directory
