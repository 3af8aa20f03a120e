"""Small trained tokenizers of the kinds that published models have, and the prompts that those models take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

START, USER, ASSISTANT, END = "<s>", "<|user|>", "<|assistant|>", "<|end|>"
CONTROL = [START, USER, ASSISTANT, END]
MARKUP = ["<think>", "</think>", "<tool_call>"]
"""Added, but not declared special."""

SENTENCES = [
    "Where is my order? It was to arrive on Monday, 12 May.",
    "Translate the following text into French: English Chinese source target",
    "手机壳，女士红色连衣裙。请不要额外解释：",
    "L'hôtel n'a pas répondu ; c'est dommage !\n\n",
    "def f(x):\n    return x + 1  # two  spaces",
    "\n\nТекст: пример\n",
]
NASTY = [
    "a  b", "   x", "x   ", "a", "!!!", "。", "\t tab", "line\r\nend", "é́", "🙂👩‍👩‍👧", "<b>x</b> y",
    "\u2581\u2581", "\u202bשלום",
    "<0x0A>", "a" * 300,
    "\n", "\n\n\n", ":", ": x", " x", "x\n", "\u00a0x", "ﷺ", "１２", "don't", "'s", "<", ">", "/think>",
]  # fmt: skip
TEXTS = [*SENTENCES, *NASTY]

PROMPTS = {
    "bare": "{text}",
    "docs": "Answer with the translation alone.\n\n{text}\n\nTranslation:",
    "hy-mt2": "Translate the following text into French.\n\n{text}",
    "context": "[Source Text]\n{text}",
    "tagged": "<source>{text}</source>",
    "seed-x": "Translate the following English sentence into French:\n{text} <fr>",
    "lmt": "Translate from English into French:\nEnglish: {text}\nFrench:",
    "tower": "English: {text}\nFrench: ",
}
WRAPPERS = {
    "chat": f"{START}{USER}\n{{prompt}}{END}\n{ASSISTANT}\n",
    "tight": f"{START}{USER}{{prompt}}{ASSISTANT}",
    "begin": f"{START}{{prompt}}",
    "end": f"{{prompt}}{END}",
    "none": "{prompt}",
    "think": f"{START}{USER}\n{{prompt}}{END}\n{ASSISTANT}\n<think>\n\n</think>\n\n",
}


def templates() -> dict[str, str]:
    """Every prompt in every wrapper."""
    return {
        f"{prompt}-{wrapper}": form.replace("{prompt}", PROMPTS[prompt])
        for prompt in PROMPTS
        for wrapper, form in WRAPPERS.items()
    }


def byte_level(pattern: str | None, *, normalizer: Any = None) -> Tokenizer:
    """As GPT-2 (without a pattern), Qwen and Llama 3 have it."""
    tokenizer = Tokenizer(models.BPE())
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = (
        whole
        if pattern is None
        else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), whole])
    )
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, 700, pre_tokenizers.ByteLevel.alphabet())


def sentencepiece(prepend_scheme: str | None) -> Tokenizer:
    """As Mistral (``first``) and Llama 2's legacy form (None: a normalizer adds the space) have it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme or "always")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trained = _trained(tokenizer, 900, [], special=["<unk>", *_bytes()])
    document = json.loads(trained.to_str())
    document["added_tokens"] = [
        token for token in document["added_tokens"] if token["content"] not in _bytes()
    ]
    if prepend_scheme is None:
        document["pre_tokenizer"] = None
    trained = Tokenizer.from_str(json.dumps(document))
    if prepend_scheme is None:
        trained.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    return trained


def gemma() -> Tokenizer:
    """As Gemma has it: runs of spaces and HTML tags are added tokens that are not special."""
    document = json.loads(sentencepiece("never").to_str())
    document["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    runs = ["\u2581" * count for count in range(2, 6)] + ["\n" * count for count in range(2, 4)]
    tokenizer.add_tokens([AddedToken(content, normalized=False) for content in [*runs, "<b>", "</b>"]])
    return tokenizer


def unigram() -> Tokenizer:
    """As T5, NLLB and Jurassic have it, with bytes for unknown characters."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*SENTENCES, *PROMPTS.values()] * 3, trainer)
    document = json.loads(tokenizer.to_str())
    document["model"]["vocab"] += [[token, -50.0] for token in _bytes()]
    document["model"]["byte_fallback"] = True
    trained = Tokenizer.from_str(json.dumps(document))
    trained.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _with_added(trained)


def stripping() -> Tokenizer:
    """As Phi 3 has it: control tokens take in the white space behind them."""
    document = json.loads(sentencepiece(None).to_str())
    for token in document["added_tokens"]:
        token["rstrip"] = token["content"] in (USER, ASSISTANT, END)
    return Tokenizer.from_str(json.dumps(document))


QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

KINDS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": lambda: byte_level(None),
    "qwen": lambda: byte_level(QWEN, normalizer=normalizers.NFC()),
    "llama3": lambda: byte_level(LLAMA3),
    "gemma": gemma,
    "mistral": lambda: sentencepiece("first"),
    "llama2": lambda: sentencepiece(None),
    "metaspace": lambda: sentencepiece("never"),
    "unigram": unigram,
    "phi3": stripping,
}


def _bytes() -> list[str]:
    return [f"<0x{value:02X}>" for value in range(256)]


def _trained(
    tokenizer: Tokenizer, size: int, alphabet: list[str], special: list[str] | None = None
) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special or [],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SENTENCES, *PROMPTS.values()] * 3, trainer)
    return _with_added(tokenizer)


def _with_added(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in MARKUP])
    return tokenizer
