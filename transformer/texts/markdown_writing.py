"""Writes text into Markdown: signs that would be marks there get a backslash. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from documents.markdown_blocks import as_same_block

_MAY_MARK = re.compile(r"[\\`*_\[\]<|]|~~|&(?=#?\w+;)")
_UNDERSCORES = re.compile(r"_{1,3}")
_WHITE_SPACE = re.compile(r"\s*[\r\n]\s*")


@dataclass(frozen=True, slots=True)
class MarkdownWriting:
    """How the translation of one block of Markdown is written."""

    literal: frozenset[str]
    """Signs that stand in the block's own text without being marks; they are no marks in its translation."""
    source: str = ""
    """The block's text, for the translation that stands at its beginning; empty for others."""

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> MarkdownWriting:
        """How a block is written whose text, between its marks, is this."""
        return cls(frozenset(found.group() for text in texts for found in _MAY_MARK.finditer(text)))

    def written(self, text: str) -> str:
        """``text`` between two marks; on one line, as it would not stay in its block otherwise."""
        return _MAY_MARK.sub(self._escaped, _WHITE_SPACE.sub(" ", text))

    def joined(self, pieces: Sequence[str], marks: Sequence[int]) -> str:
        """The pieces of a sentence, with asterisks for underscores where these would be no emphasis: beside a letter.

        Args:
            pieces: text and marks, in order.
            marks: which of the pieces are marks.
        """
        underscores = [place for place in marks if _UNDERSCORES.fullmatch(pieces[place])]
        whole = "".join(pieces)
        if len(underscores) % 2 or not any(
            _is_beside_letter(whole, len("".join(pieces[:place])), len(pieces[place]))
            for place in underscores
        ):
            return whole
        return "".join(
            "*" * len(piece) if place in underscores else piece for place, piece in enumerate(pieces)
        )

    def whole(self, text: str) -> str:
        """What was written, with its marks: it begins no other kind of block."""
        return as_same_block(text, self.source) if self.source else text

    def _escaped(self, found: re.Match[str]) -> str:
        return found.group() if found.group() in self.literal else f"\\{found.group()}"


def _is_beside_letter(text: str, at: int, length: int) -> bool:
    """Whether a mark stands between two letters or digits."""
    return text[at - 1 : at].isalnum() and text[at + length : at + length + 1].isalnum()
