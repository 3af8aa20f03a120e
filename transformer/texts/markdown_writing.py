"""Writes text into Markdown: signs that would be marks there get a backslash. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from documents.markdown_blocks import as_same_block

_MAY_MARK = re.compile(r"[\\`*_\[\]<|]|~~|&(?=#?\w+;)")
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

    def whole(self, text: str) -> str:
        """What was written, with its marks: it begins no other kind of block."""
        return as_same_block(text, self.source) if self.source else text

    def _escaped(self, found: re.Match[str]) -> str:
        return found.group() if found.group() in self.literal else f"\\{found.group()}"
