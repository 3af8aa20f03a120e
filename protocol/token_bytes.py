"""Computes the most bytes of text that one token of a ``tokenizer.json`` can represent.

A text with more bytes than its token limit times this number is too long, whatever its tokens are: that is known
before it is tokenized. Tokenizing takes up to 1.1 us of CPU and 200 bytes of memory per byte of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

_Part = Mapping[str, Any]

DROPS_TEXT = 16
"""For a tokenizer that may drop characters, or make one token of many that it does not know: there is no bound, and a
text that loses more than 15 of 16 bytes counts as too long."""

_NORMALIZERS = {
    "NFC": 3, "NFD": 3, "NFKC": 4, "NFKD": 4, "Lowercase": 3, "Prepend": 1, "ByteLevel": 1,
}  # fmt: skip
"""Most bytes of a text for one byte of its normal form. NFKC makes ``A`` of the 4 bytes of U+1D400."""
_PRE_TOKENIZERS = frozenset({"ByteLevel", "Metaspace", "Digits", "UnicodeScripts", "FixedLength"})
"""Pre-tokenizers that only split a text. ``Split`` and ``Punctuation`` do unless their behavior is ``Removed``."""
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_BYTE_CHARACTERS = frozenset(
    map(chr, (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)))
)
"""The characters that stand for the 256 bytes in a byte-level vocabulary (GPT-2's encoder.py)."""


def byte_token_ids(vocabulary: Mapping[str, int]) -> frozenset[int]:
    """Ids of the tokens that stand for one byte each (``<0x0A>``), as SentencePiece vocabularies have them.

    A run of them is decoded together: one byte too many turns all of them into replacement characters.
    """
    return frozenset(token_id for token, token_id in vocabulary.items() if _BYTE_TOKEN.fullmatch(token))


def bytes_per_token(document: _Part) -> int:
    """The most bytes of UTF-8 text that one token can stand for.

    Args:
        document: a ``tokenizer.json``.
    """
    byte_level = _is_byte_level(document)
    tokens = _vocabulary(document["model"])
    longest = max((len(token) if byte_level else len(token.encode()) for token in tokens), default=1)
    added = document.get("added_tokens") or ()
    longest = max([longest, *(len(token["content"].encode()) for token in added)])
    return max(1, longest) * _shrinking(document)


def _shrinking(document: _Part) -> int:
    """Most bytes of a text for one byte of what its tokens stand for."""
    if not _keeps_all(document) or any(
        _takes_in_spaces(token) for token in document.get("added_tokens") or ()
    ):
        return DROPS_TEXT
    factor = 1
    for part in _parts(document.get("normalizer"), "normalizers"):
        factor *= _normalizer(part)
    return min(factor, DROPS_TEXT)


def _normalizer(part: _Part) -> int:
    if part["type"] == "Replace" and part["content"] and "String" in part["pattern"]:
        return max(1, ceil(len(part["pattern"]["String"].encode()) / len(part["content"].encode())))
    return _NORMALIZERS.get(part["type"], DROPS_TEXT)


def _keeps_all(document: _Part) -> bool:
    """Whether every byte of a normalized text is part of a token, and of one that is in the vocabulary."""
    cuts = _parts(document.get("pre_tokenizer"), "pretokenizers")
    if not all(
        part["type"] in _PRE_TOKENIZERS or part.get("behavior", "Removed") != "Removed" for part in cuts
    ):
        return False
    model = document["model"]
    known = set(_vocabulary(model))
    if _is_byte_level(document) and model["type"] == "BPE":
        return known >= _BYTE_CHARACTERS
    return bool(model.get("byte_fallback")) and known >= _BYTE_TOKENS


def _is_byte_level(document: _Part) -> bool:
    """Whether each character of a token stands for one byte."""
    parts = [
        *_parts(document.get("normalizer"), "normalizers"),
        *_parts(document.get("pre_tokenizer"), "pretokenizers"),
    ]
    return any(part["type"] == "ByteLevel" for part in parts)


def _takes_in_spaces(token: _Part) -> bool:
    """Whether an added token that texts may hold takes in any number of spaces beside it."""
    return not token["special"] and bool(token.get("lstrip") or token.get("rstrip"))


def _vocabulary(model: _Part) -> Iterator[str]:
    entries = model.get("vocab") or ()
    return (entry if isinstance(entry, str) else entry[0] for entry in entries)


def _parts(part: _Part | None, members: str) -> Iterator[_Part]:
    """``part`` and, of a sequence, its members."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for member in part[members]:
        yield from _parts(member, members)
