"""Finds the tokens of a vocabulary that need care: those that control the model, and those that a decoder garbles."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from protocol.release_documents import ReleaseError
from protocol.translation_spec import TranslationSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REPLACEMENT = "\ufffd"
"""The text of bytes that are not, or not yet, a whole character."""


def control_ids(tokenizer: Tokenizer, spec: TranslationSpec) -> frozenset[int]:
    """Ids of the tokens that control the model: those that are declared special, and stop tokens.

    Raises:
        ReleaseError: a stop token is not in the vocabulary.
    """
    ids = {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    for token in spec.stop_tokens:
        token_id = tokenizer.token_to_id(token)
        if token_id is None:
            raise ReleaseError(
                f"stop token {token!r} of translation.json is not in the tokenizer's vocabulary"
            )
        ids.add(token_id)
    return frozenset(ids)


def undecodable_ids(tokenizer: Tokenizer, dropped_ids: Collection[int]) -> dict[int, str]:
    """Added tokens of text that the tokenizer's own decoder cannot give back, with their text.

    A byte-level decoder takes an added ``ö`` for the byte that it writes as ``ö``. DeepSeek LLM has such tokens.
    """
    added = tokenizer.get_added_tokens_decoder().items()
    content = {token_id: token.content for token_id, token in added if token_id not in dropped_ids}
    return {
        token_id: text
        for token_id, text in content.items()
        if REPLACEMENT in tokenizer.decode([token_id], skip_special_tokens=False)
    }
