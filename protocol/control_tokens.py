"""Which added tokens of a ``tokenizer.json`` control the model, and which are text. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

_HTML_TAGS = (
    "a abbr address article aside b blockquote body br caption center cite code col colgroup dd del details dfn "
    "div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 head header hr html i img ins kbd li main mark "
    "nav ol p pre q s samp section small span strong sub summary sup table tbody td tfoot th thead title tr tt u ul "
    "var wbr"
)
_HTML = re.compile(rf"</?(?:{_HTML_TAGS.replace(' ', '|')})/?>")
_THINKING = re.compile(r"</?(?:think|thinking|thought|reasoning)>")
_SENTENCEPIECE_SPACE = "\u2581"
"""``▁``, which SentencePiece vocabularies write for a space. Gemma adds runs of it to its vocabulary."""


def is_control_token(content: str, *, special: bool, named: Collection[str]) -> bool:
    """Whether an added token of a vocabulary controls the model, rather than being text.

    Tokens declared special do, tokens in ``named`` do, and so do other added tokens of markup (``<think>``). HTML
    tags, letters and white space that a tokenizer adds to its vocabulary are text.

    Args:
        content: the token as text.
        special: whether the tokenizer declares it special.
        named: stop tokens and language prompts of ``translation.json``.
    """
    if special or content in named:
        return True
    if len(content) <= 1 or _HTML.fullmatch(content):
        return False
    return not all(
        character.isalpha() or character.isspace() or character == _SENTENCEPIECE_SPACE
        for character in content
    )


def is_dropped_token(content: str, *, special: bool, named: Collection[str]) -> bool:
    """Whether an added token is left out of a generated text: special and named ones, and marks of reasoning.

    Other control tokens (``<tool_call>``) are written: the model wrote them because its text has them.

    Args:
        content: the token as text.
        special: whether the tokenizer declares it special.
        named: stop tokens and language prompts of ``translation.json``.
    """
    return special or content in named or _THINKING.fullmatch(content) is not None


def declare_control_tokens(document: dict[str, Any], named: Collection[str]) -> frozenset[int]:
    """Mark every control token of a ``tokenizer.json`` special: only special tokens can be switched off.

    Args:
        document: of the tokenizer; changed in place.
        named: stop tokens and language prompts of ``translation.json``.

    Returns:
        Ids of the control tokens that are written in a generated text.
    """
    written = set()
    for token in document.get("added_tokens") or ():
        content, special = token["content"], token["special"]
        token["special"] = is_control_token(content, special=special, named=named)
        if token["special"] and not is_dropped_token(content, special=special, named=named):
            written.add(token["id"])
    return frozenset(written)
