"""Markdown files: each block with text is a unit; code, targets of links and front matter stay.

Emphasis and links are spans of :mod:`documents.inline_codes`; code, images and HTML tags are single codes. Lines of a
paragraph become one line where they are translated.
"""

from __future__ import annotations

from collections.abc import Sequence

from documents.encoding import TextEncoding, decode_text
from documents.inline_codes import CodeKind, CodeToken, tokens_of_answer, unit_of_tokens
from documents.interface import DocumentLanguages, UnitTranslation
from documents.markdown_blocks import MarkdownBlock, as_same_block, markdown_blocks
from documents.splices import TextSplice, splice_text


class MarkdownFile:
    """A Markdown document."""

    def __init__(self, source: str, encoding: TextEncoding) -> None:
        """Find the texts.

        Args:
            source: the document.
            encoding: of the file.
        """
        self._source, self._encoding = source, encoding
        self._blocks = list(markdown_blocks(source))
        self.units = [unit_of_tokens(_tokens(block), "") for block in self._blocks]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The document; a text without a translation stays."""
        splices = [
            TextSplice(block.start, block.end, self._written(block, answer.text))
            for block, unit, answer in zip(self._blocks, self.units, translations, strict=True)
            if answer.text is not None and answer.text != unit.text
        ]
        return self._encoding.encode(splice_text(self._source, splices))

    def _written(self, block: MarkdownBlock, answer: str) -> str:
        marks = {(each.kind, each.number): each.text for each in block.pieces}
        tokens = tokens_of_answer(" ".join(answer.splitlines()), _tokens(block))
        written = "".join(
            token.text if token.kind is CodeKind.TEXT else marks[token.kind, token.number] for token in tokens
        )
        return as_same_block(written, self._source[block.start : block.end])


def _tokens(block: MarkdownBlock) -> list[CodeToken]:
    """The codes of a block, and the text between them."""
    tokens: list[CodeToken] = []
    for piece in block.pieces:
        if piece.kind is not CodeKind.TEXT:
            tokens.append(CodeToken(piece.kind, number=piece.number))
        elif tokens and tokens[-1].kind is CodeKind.TEXT:
            tokens[-1] = CodeToken(CodeKind.TEXT, tokens[-1].text + piece.text)
        else:
            tokens.append(CodeToken(CodeKind.TEXT, piece.text))
    return tokens


def parse(data: bytes, languages: DocumentLanguages) -> MarkdownFile:
    """Read a Markdown document.

    Raises:
        FileFormatError: the bytes are not text.
    """
    text, encoding = decode_text(data)
    return MarkdownFile(text, encoding)
