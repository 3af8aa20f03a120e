"""Takes Markdown apart: paragraphs, headings, list items and cells, each with the marks within it and their places.

Lines of a block, which are broken for width, are one text; a hard line break ends it. markdown-it finds the blocks;
what is between them stays as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from markdown_it import MarkdownIt

from documents.inline_codes import CodeKind
from documents.plain_text import TextLine, split_lines
from documents.subtitle_lines import join_lines

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*(?:\r\n|\r|\n)(?:.*(?:\r\n|\r|\n))*?\1[ \t]*(?:\r\n|\r|\n|\Z)")
_HARD_BREAK = re.compile(r"(?:[ \t]{2,}|\\)\Z")
_MARK = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<single>\A\[[ xX]\](?=\s)"
    r"|!\[[^\]]{0,1000}\](?:\([^()]{0,2000}\)|\[[^\]]{0,1000}\])|\[\^[^\]\s]{1,1000}\]"
    r"|<[^<>\s][^<>]*>|\\[!-/:-@\[-`{-~]|&\#?\w+;)"
    r"|(?P<close>\](?:\((?:<[^<>]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+(?:\"[^\"]*\"|'[^']*'))?\)|\[[^\]]+\]))"
    r"|(?P<bracket>\[|\](?:\[\])?)"
    r"|(?P<emphasis>\*{1,3}|_{1,3}|~~)",
    re.DOTALL,
)
_MOST_OPEN = 256
"""Marks that wait for their partners; the oldest are given up."""
_BLOCK_START = re.compile(r"(?P<number>\d{1,9})[.)](?=\s|\Z)|>|(?:\#{1,6}|[+*-])(?=\s|\Z)|```|~~~|[=-]+\s*\Z")
"""A text that begins another kind of block."""


@dataclass(frozen=True, slots=True)
class MarkdownPiece:
    """A stretch of text of one line, what joins two lines, or a mark."""

    kind: CodeKind
    start: int
    end: int
    """Range in the source."""
    text: str
    """Text, or the mark as it is written."""
    number: int = 0
    """Of a mark; that of a pair is the same."""


@dataclass(slots=True)
class MarkdownBlock:
    """Lines that are one text."""

    start: int
    end: int
    """Range in the source."""
    pieces: list[MarkdownPiece] = field(default_factory=list)


def markdown_blocks(source: str) -> Iterator[MarkdownBlock]:
    """The blocks with text, in order."""
    lines = list(split_lines(source))
    starts = [0, *accumulate(len(line.text) + len(line.end) for line in lines)]
    found = _FRONT_MATTER.match(source)
    front = found.end() if found else 0
    # The parser sees empty lines in place of the front matter, so that line numbers stay.
    seen = "".join(
        "\n" if start < front else f"{line.text}\n" for line, start in zip(lines, starts, strict=False)
    )
    known: dict[str, Any] = {}
    columns: dict[int, int] = {}
    """By line, where the last text in it ends; a table's row has several."""
    for token in MarkdownIt("commonmark").enable("table").disable("inline").parse(seen, known):
        if token.type == "inline" and token.map and token.content.strip():
            spans = _spans(token.content, token.map[0], lines, columns)
            yield from _of_spans(spans, source, starts, known.get("references", {}))


def as_same_block(text: str, source: str) -> str:
    """``text`` in the place of a block's text, ``source``: escaped where it would begin another kind of block."""
    found = _BLOCK_START.match(text)
    if found is None or _BLOCK_START.match(source):
        return text
    number = found["number"] or ""
    return f"{number}\\{text[len(number) :]}"


def _spans(
    content: str, first: int, lines: Sequence[TextLine], columns: dict[int, int]
) -> list[tuple[int, int, int]]:
    """Line, start and end in it of each line of a block's content; nothing if a line is not found."""
    spans: list[tuple[int, int, int]] = []
    for number, part in enumerate(content.split("\n"), start=first):
        text = lines[number].text
        start = text.find(part.strip(), columns.get(number, 0))
        if start < 0:  # a cell with an escaped bar
            part = part.replace("|", r"\|")
            start = text.find(part.strip(), columns.get(number, 0))
        if start < 0:
            return []
        columns[number] = start + len(part.strip())
        spans.append((number, start, columns[number]))
    return spans


def _of_spans(
    spans: Sequence[tuple[int, int, int]],
    source: str,
    starts: Sequence[int],
    references: Mapping[str, object],
) -> Iterator[MarkdownBlock]:
    """Texts of a block; a hard line break ends one.

    Args:
        spans: line, start and end in it of each line of the block.
        source: the document.
        starts: of its lines.
        references: that links may be to.
    """
    ranges: list[tuple[int, int]] = []
    for place, (line, start, end) in enumerate(spans):
        start, end = starts[line] + start, starts[line] + end
        text = source[starts[line] : starts[line + 1]].rstrip("\r\n")
        is_hard = place + 1 < len(spans) and _HARD_BREAK.search(text)
        if is_hard and source[end - 1] == "\\":
            end = start + len(source[start : end - 1].rstrip())
        ranges.append((start, end))
        if is_hard or place + 1 == len(spans):
            yield _JoinedLines(source, ranges).block(references)
            ranges = []


class _JoinedLines:
    """The lines of a block as one text."""

    def __init__(self, source: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Join the lines in these ranges of the source."""
        self._ranges = ranges
        self._offsets: list[int] = []
        self._sources: list[tuple[int, int]] = []
        """Of lines, and of what joins them: where each begins in the joined text, and its range in the source."""
        parts: list[str] = []
        length = 0
        for number, (start, end) in enumerate(ranges):
            text = source[start:end]
            space = join_lines([parts[-1][-1:], text[:1]])[1:-1] if number else ""
            if space:
                self._add(length, ranges[number - 1][1], start)
            self._add(length + len(space), start, end)
            parts += [space, text]
            length += len(space) + len(text)
        self.words = "".join(parts)

    def block(self, references: Mapping[str, object]) -> MarkdownBlock:
        """The block of them, with its marks."""
        block = MarkdownBlock(self._ranges[0][0], self._ranges[-1][1])
        marks = list(_MARK.finditer(self.words))
        pairs = _pairs(self.words, marks, references)
        at = 0
        for index, mark in enumerate(marks):
            is_single = mark["code"] is not None or mark["single"] is not None
            if index not in pairs and not is_single:
                continue
            block.pieces += self._texts(at, mark.start())
            at = mark.end()
            kind, number, raw = pairs.get(index, (CodeKind.SINGLE, index, mark[0]))
            start, end = self._source_of(mark.start()), self._source_of(at - 1) + 1
            block.pieces.append(MarkdownPiece(kind, start, end, raw, number))
        block.pieces += self._texts(at, len(self.words))
        return block

    def _add(self, offset: int, start: int, end: int) -> None:
        self._offsets.append(offset)
        self._sources.append((start, end))

    def _texts(self, start: int, end: int) -> Iterator[MarkdownPiece]:
        """The stretches of a range of the joined text."""
        number = bisect_right(self._offsets, start) - 1
        while start < end:
            following = [*self._offsets[number + 1 : number + 2], len(self.words)][0]
            stop = min(end, following)
            yield MarkdownPiece(
                CodeKind.TEXT, self._source_of(start), self._source_of(stop - 1) + 1, self.words[start:stop]
            )
            start, number = stop, number + 1

    def _source_of(self, at: int) -> int:
        """Where a character of the joined text stands in the source."""
        number = bisect_right(self._offsets, at) - 1
        return self._sources[number][0] + at - self._offsets[number]


def _pairs(
    words: str, marks: Sequence[re.Match[str]], references: Mapping[str, object]
) -> dict[int, tuple[CodeKind, int, str]]:
    """Marks that belong together, by index: kind, number of the pair, and what is written."""
    pairs: dict[int, tuple[CodeKind, int, str]] = {}
    opened: list[int] = []
    for index, mark in enumerate(marks):
        del opened[:-_MOST_OPEN]
        if mark["bracket"] == "[":
            opened.append(index)
        elif mark["close"] or mark["bracket"]:
            start = next((each for each in reversed(opened) if marks[each][0] == "["), None)
            if start is None:
                continue
            del opened[opened.index(start) :]
            label = words[marks[start].end() : mark.start()]
            if mark["close"]:
                written = mark[0]
            elif " ".join(label.split()).upper() in references:
                written = f"][{label}]"
            else:
                continue
            pairs[start], pairs[index] = (CodeKind.OPEN, start, "["), (CodeKind.CLOSE, start, written)
        elif mark["emphasis"]:
            start = _opening(words, marks, opened, index)
            if start is not None:
                del opened[opened.index(start) :]
                pairs[start] = (CodeKind.OPEN, start, mark[0])
                pairs[index] = (CodeKind.CLOSE, start, mark[0])
            elif _may_open(words, mark):
                opened.append(index)
    return pairs


def _may_open(words: str, mark: re.Match[str]) -> bool:
    before, behind = words[mark.start() - 1 : mark.start()], words[mark.end() : mark.end() + 1]
    return not behind.isspace() and not (mark[0][0] == "_" and before.isalnum())


def _opening(words: str, marks: Sequence[re.Match[str]], opened: Sequence[int], index: int) -> int | None:
    """The mark that a mark of emphasis closes, inside the innermost open bracket."""
    mark = marks[index]
    behind = words[mark.end() : mark.end() + 1]
    if words[mark.start() - 1 : mark.start()].isspace() or (mark[0][0] == "_" and behind.isalnum()):
        return None
    for each in reversed(opened):
        if marks[each][0] == "[":
            return None
        if marks[each][0] == mark[0] and marks[each].end() < mark.start():
            return each
    return None
