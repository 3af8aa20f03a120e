"""Text while its tokens are still coming: pieces that add up, byte for byte, to the text of all tokens at once.

A token may end inside a character, and what a tokenizer makes of some tokens depends on the next one. So text goes
out once no later token can change it. :mod:`transformer.tokens.tokenizer` decodes; this decides what is settled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

_REPLACEMENT = "\ufffd"
"""What decoders make of bytes that are no character, or not yet."""

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Detokenizer:
    """The text of one answer. ``add`` tokens as they come, then ``finish`` once."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], unsettled_ids: Collection[int] = frozenset()
    ) -> None:
        """Begin an answer.

        Args:
            decode: ids to text; as :meth:`transformer.tokens.tokenizer.PromptTokenizer.decode`.
            unsettled_ids: tokens after which nothing is settled, since the next one may change what they come to:
                those of :func:`byte_token_ids`, and those that leave no trace in the text.
        """
        self._decode = decode
        self._unsettled_ids = unsettled_ids
        self._context: list[int] = []
        """The last settled ids, decoded along with the next: decoders treat a first token in their own way."""
        self._context_text = ""
        self._open: list[int] = []
        """Ids after the context."""
        self._sent = 0
        """Characters of the open ids' text that went out already."""

    def add(self, token_ids: Sequence[int]) -> str:
        """Text that is settled now; may be empty, or more than these tokens' own."""
        self._open += token_ids
        count = len(self._open)
        while count and self._open[count - 1] in self._unsettled_ids:
            count -= 1
        if not count:
            return ""
        text = self._text_of(self._open[:count])
        settled = text.rstrip(_REPLACEMENT)
        piece = settled[self._sent :]
        self._sent = max(self._sent, len(settled))
        if settled and settled == text:
            self._settle(count)
        return piece

    def finish(self) -> str:
        """All that was held back, with U+FFFD for characters that stayed incomplete."""
        piece = self._text_of(self._open)[self._sent :]
        self._settle(len(self._open))
        return piece

    def _settle(self, count: int) -> None:
        self._context, self._open = self._open[:count], self._open[count:]
        self._context_text = self._decode(self._context)
        self._sent = 0

    def _text_of(self, token_ids: list[int]) -> str:
        return self._decode(self._context + token_ids)[len(self._context_text) :]


def byte_token_ids(vocabulary: Mapping[str, int]) -> frozenset[int]:
    """Ids of the tokens that stand for one byte each (``<0x0A>``), as SentencePiece vocabularies have them.

    A run of them is decoded together: one byte too many makes replacement characters of all.
    """
    return frozenset(token_id for token, token_id in vocabulary.items() if _BYTE_TOKEN.fullmatch(token))
