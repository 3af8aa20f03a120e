"""A release small enough to write in a test: a byte-level BPE of a few hundred tokens, and English and Chinese."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from protocol.release import DecoderShape, Limits, Release

EN, ZH, END = 0, 1, 2
SPECIAL_TOKENS = ["<|en|>", "<|zh|>", "<|end|>"]
CORPUS = ["hello world", "red shoes for women", "iPhone 15 case", "手机壳", "女士红色连衣裙", "无线耳机"]
MAX_SOURCE_TOKENS = 200
MAX_NEW_TOKENS = 256
MAX_SEQUENCE_TOKENS = 512

TRANSLATION = {
    "schema": 1,
    "template": "{source}{text}{target}",
    "languages": {
        "en": {"name": "English", "prompt": "<|en|>", "script": "Latn"},
        "zh": {"name": "Chinese", "prompt": "<|zh|>", "script": "Hans"},
    },
    "pairs": [["en", "zh"], ["zh", "en"]],
    "stop_tokens": ["<|end|>"],
    "guards": {"checks": ["empty", "length"], "retries": 0},
    "limits": {
        "max_source_tokens": MAX_SOURCE_TOKENS,
        "max_new_tokens": MAX_NEW_TOKENS,
        "new_tokens_per_source_token": 3.0,
        "extra_new_tokens": 16,
    },
}


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


def renumber(tokenizer: Tokenizer, special: int = len(SPECIAL_TOKENS)) -> Tokenizer:
    """The same tokens under other ids, the first ``special`` apart: no text has the same ids in both."""
    document = json.loads(tokenizer.to_str())
    first, size = special, tokenizer.get_vocab_size()
    vocabulary = document["model"]["vocab"]
    document["model"]["vocab"] = {
        token: number if number < first else first + size - 1 - number for token, number in vocabulary.items()
    }
    return Tokenizer.from_str(json.dumps(document))


def write_release(
    directory: Path,
    *,
    release_id: str = "0123456789abcdef",
    name: str = "tiny",
    tokenizer: Tokenizer | None = None,
) -> Path:
    """Everything of a release that a transformer reads."""
    (directory / "tokenizer").mkdir(parents=True)
    tokenizer = tokenizer or train_tokenizer()
    tokenizer.save(str(directory / "tokenizer" / "tokenizer.json"))
    release = Release(
        id=release_id,
        name=name,
        family="LlamaForCausalLM",
        precision="float32",
        decoder=DecoderShape(
            layers=1,
            hidden=8,
            heads=1,
            kv_heads=1,
            head_dim=8,
            intermediate=8,
            vocab=tokenizer.get_vocab_size(),
        ),
        limits=Limits(max_sequence_tokens=MAX_SEQUENCE_TOKENS, candidates=8),
        stop_token_ids=(END,),
        languages=("en", "zh"),
        provenance={},
        files={},
    )
    (directory / "release.json").write_text(json.dumps(release.to_json()), encoding="utf-8")
    (directory / "translation.json").write_text(json.dumps(TRANSLATION), encoding="utf-8")
    return directory
