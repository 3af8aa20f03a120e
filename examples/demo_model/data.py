"""Turns the grammar's pairs into training sequences, on all cores, before training starts.

A sequence is ``<|en|>`` text ``<|zh|>`` translation ``<|end|>`` or the mirror image; the pieces are encoded one by
one and joined, exactly as a service builds the prompt from translation.json. A small share of the source texts
is disturbed (lower case, a lost comma, "500 ml" for "500ml") while the answer stays clean. What this module
does not do: stream; all sequences are made up front and kept in memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from multiprocessing import get_context
from random import Random

import grammar
import numpy as np
from numpy.typing import NDArray
from tokenizer import END, PAD, PROMPTS, token_id
from tokenizers import Tokenizer

# Sequences are padded to the next of these widths (in tokens); few widths mean few compiled shapes.
WIDTHS = (28, 40, 56, 96)
NOISE_SHARE = 0.15

Buckets = dict[int, tuple[NDArray[np.int16], NDArray[np.int16]]]


_HAN_SPACES = re.compile(r"(?<=[\u4e00-\u9fff】]) +| +(?=[\u4e00-\u9fff])")
_NARROW = str.maketrans({"，": ",", "（": "(", "）": ")", "：": ":", "？": "?", "！": "!", "×": "x"})


def _lower(match: re.Match[str]) -> str:
    word = match.group()
    return word.lower() if word in grammar.TITLE_WORDS else word  # names keep their capitals


def disturb_english(text: str, rng: Random) -> str:
    """A slip of the kind that people make when typing a title; the meaning stays the same."""
    kind = rng.randrange(10)
    if kind < 5:
        lowered = re.sub(r"[A-Za-z][A-Za-z'-]*", _lower, text)
        return lowered[0].upper() + lowered[1:] if kind == 0 else lowered
    if kind == 5:
        return text.replace(" ", "  ", 1)
    if kind == 6:
        return text.replace(", ", " ", 1)
    if kind == 7:
        return re.sub(r"(\d)(ml|L|kg|g|cm|mm|W|GB|mAh)\b", r"\1 \2", text)
    return _ending(text, rng)


def disturb_chinese(text: str, rng: Random) -> str:
    """The same for Chinese: spaces left out or doubled, half-width punctuation, another ending."""
    kind = rng.randrange(8)
    if kind < 4:
        return _HAN_SPACES.sub("", text)
    if kind == 4:
        return text.replace(" ", "  ", 1)
    if kind == 5:
        return text.translate(_NARROW)
    return _ending(text, rng)


def _ending(text: str, rng: Random) -> str:
    bare = text.rstrip(".?!。？！")
    return bare if bare != text else text + rng.choice((" ", ".", "!", "。"))


def _make_chunk(job: tuple[str, str, int]) -> Buckets:
    """One worker's share: (tokenizer as JSON, seed, pairs) to padded sequences and answer starts by width."""
    tokenizer_json, seed, count = job
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes share the cores already
    tokenizer, rng = Tokenizer.from_str(tokenizer_json), Random(seed)
    pad, end = token_id(tokenizer, PAD), token_id(tokenizer, END)
    english_id, chinese_id = (token_id(tokenizer, PROMPTS[language]) for language in ("en", "zh"))
    texts: list[str] = []
    for english, chinese in islice(grammar.training_pairs(rng), count):
        noisy_english = disturb_english(english, rng) if rng.random() < NOISE_SHARE else english
        noisy_chinese = disturb_chinese(chinese, rng) if rng.random() < NOISE_SHARE else chinese
        texts.extend((english, chinese, noisy_english, noisy_chinese))
    codes = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    rows: dict[int, list[list[int]]] = {width: [] for width in WIDTHS}
    starts: dict[int, list[int]] = {width: [] for width in WIDTHS}
    for i in range(0, len(codes), 4):
        to_english, to_chinese, from_english, from_chinese = codes[i : i + 4]
        for sequence, start in (
            ([english_id, *from_english, chinese_id, *to_chinese, end], len(from_english) + 2),
            ([chinese_id, *from_chinese, english_id, *to_english, end], len(from_chinese) + 2),
        ):
            width = next((width for width in WIDTHS if len(sequence) <= width), None)
            if width is not None:
                rows[width].append(sequence + [pad] * (width - len(sequence)))
                starts[width].append(start)
    return {
        width: (np.array(rows[width], np.int16).reshape(-1, width), np.array(starts[width], np.int16))
        for width in WIDTHS
    }


def make_buckets(tokenizer: Tokenizer, seed: int, pairs: int, processes: int) -> Buckets:
    """Makes both directions of ``pairs`` pairs.

    Returns, per width, sequences of shape (rows, width) padded on the right, and the index of the first answer
    token of each row, shape (rows,). The result depends on ``seed`` and ``pairs`` alone, not on ``processes``.
    """
    size = 20_000
    text = tokenizer.to_str()
    jobs = [
        (text, f"train-{seed}-{number}", min(size, pairs - start))
        for number, start in enumerate(range(0, pairs, size))
    ]
    if processes == 1:
        chunks: Iterable[Buckets] = map(_make_chunk, jobs)
        return _join(chunks)
    with get_context("spawn").Pool(processes) as pool:
        return _join(pool.imap(_make_chunk, jobs))


def _join(chunks: Iterable[Buckets]) -> Buckets:
    parts = list(chunks)
    return {
        width: (
            np.concatenate([part[width][0] for part in parts]),
            np.concatenate([part[width][1] for part in parts]),
        )
        for width in WIDTHS
    }
