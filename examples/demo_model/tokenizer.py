"""Trains the demo model's tokenizer: a small byte-level BPE for English and Chinese shop titles.

Any text can be encoded, and decode(encode(text)) == text: what is not in the vocabulary falls apart into bytes.
Digits and Chinese characters are never merged with their neighbours, so numbers are copied digit by digit and
a Chinese word is spelled the same wherever it stands. No token is added at the start or the end of a text.
What this module does not do: normalise text, or build prompts (data.py does, as translation.json says).
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random

import grammar
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY_SIZE = 4096
SOURCE_PAIRS = 200_000
PAD, END = "<|pad|>", "<|end|>"
PROMPTS = {"en": "<|en|>", "zh": "<|zh|>"}
SPECIAL_TOKENS = [PAD, END, *PROMPTS.values()]
# The longest text and answer in tokens that a service should accept; see translation.json.
MAX_TOKENS = 96


def train_tokenizer(seed: int, pairs: int = SOURCE_PAIRS) -> Tokenizer:
    """Trains on ``pairs`` training pairs of the grammar; held-out titles are never seen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{Nd}"), "isolated"),
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    source = islice(grammar.training_pairs(Random(f"tokenizer-{seed}")), pairs)
    tokenizer.train_from_iterator((text for pair in source for text in pair), trainer)
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The number of a token that must exist."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"the tokenizer has no token {token}")
    return int(number)


def save_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and translation.json."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    config = {
        # The plain fast class reads tokenizer.json as it is; a Llama class would put its own rules in place.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "additional_special_tokens": list(PROMPTS.values()),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
    }
    contract = {
        "schema": 1,
        "template": "{source}{text}{target}",
        "languages": {
            "en": {"name": "English", "prompt": PROMPTS["en"], "script": "Latn"},
            "zh": {"name": "Chinese", "prompt": PROMPTS["zh"], "script": "Hans"},
        },
        "pairs": [["en", "zh"], ["zh", "en"]],
        "stop_tokens": [END],
        "limits": {
            "max_source_tokens": MAX_TOKENS,
            "max_new_tokens": MAX_TOKENS,
            "new_tokens_per_source_token": 2.0,
            "extra_new_tokens": 16,
        },
        # Of 8,000 pairs of the grammar: `yiwen release lengths`.
        "guards": {
            "lengths": [
                {"source": "en", "target": "zh", "ratio": 0.918, "variance": 1.02},
                {"source": "zh", "target": "en", "ratio": 1.09, "variance": 1.329},
            ]
        },
    }
    for name, content in (("tokenizer_config.json", config), ("translation.json", contract)):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
