"""Incremental detokenization: pieces of text that, joined, equal the text of all tokens decoded at once.

A token may end inside a character, and the text of some tokens depends on the next token. A piece is therefore
returned once no later token can change it. :mod:`protocol.prompt_encoder` decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from protocol.prompt_encoder import REPLACEMENT


class Detokenizer:
    """Decodes one answer incrementally: call :meth:`add` with tokens as they come, then :meth:`finish` once."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], unsettled_ids: Collection[int] = frozenset()
    ) -> None:
        """Start an answer.

        Args:
            decode: ids to text, as :meth:`protocol.prompt_encoder.PromptEncoder.decode`.
            unsettled_ids: tokens after which no text is settled, as
                :attr:`protocol.prompt_encoder.PromptEncoder.unsettled_ids`.
        """
        self._decode = decode
        self._unsettled_ids = unsettled_ids
        self._context: list[int] = []
        """The last settled ids, decoded with the next ones because decoders treat a first token specially."""
        self._context_text = ""
        self._open: list[int] = []
        """Ids after the context, not settled yet."""
        self._sent = 0
        """Number of characters of the open ids' text that were returned already."""

    def add(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens settle; may be empty, and may include text of earlier tokens."""
        self._open += token_ids
        count = len(self._open)
        while count and self._open[count - 1] in self._unsettled_ids:
            count -= 1
        if not count:
            return ""
        text = self._text_of(self._open[:count])
        settled = text.rstrip(REPLACEMENT)
        piece = settled[self._sent :]
        self._sent = max(self._sent, len(settled))
        if settled and settled == text:
            self._settle(count)
        return piece

    def finish(self) -> str:
        """The rest of the text, with U+FFFD for characters that stayed incomplete."""
        piece = self._text_of(self._open)[self._sent :]
        self._settle(len(self._open))
        return piece

    def _settle(self, count: int) -> None:
        self._context, self._open = self._open[:count], self._open[count:]
        self._context_text = self._decode(self._context)
        self._sent = 0

    def _text_of(self, token_ids: list[int]) -> str:
        return self._decode(self._context + token_ids)[len(self._context_text) :]
