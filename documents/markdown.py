"""Markdown: paragraphs, headings, list items and cells are units; code, links' targets and front matter stay.

Emphasis and links are spans of :mod:`documents.inline_codes`; code, images and HTML tags are single codes. Lines of a
paragraph, which are broken for width, become one line where they are translated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from markdown_it import MarkdownIt

from documents.encoding import TextEncoding, decode_text
from documents.inline_codes import CodeKind, CodeToken, tokens_of_answer, unit_of_tokens
from documents.interface import DocumentLanguages, UnitTranslation
from documents.plain_text import TextLine, split_lines
from documents.splices import TextSplice, splice_text
from documents.subtitle_lines import join_lines

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*(?:\r\n|\r|\n)(?:.*(?:\r\n|\r|\n))*?\1[ \t]*(?:\r\n|\r|\n|\Z)")
_HARD_BREAK = re.compile(r"(?:[ \t]{2,}|\\)\Z")
_MARK = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<single>!\[[^\]]*\](?:\([^()]*\)|\[[^\]]*\])|\[\^[^\]\s]+\]|<[^<>\s][^<>]*>|\\[!-/:-@\[-`{-~]|&\#?\w+;)"
    r"|(?P<close>\](?:\((?:<[^<>]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+(?:\"[^\"]*\"|'[^']*'))?\)|\[[^\]]+\]))"
    r"|(?P<bracket>\[|\](?:\[\])?)"
    r"|(?P<emphasis>\*{1,3}|_{1,3}|~~)",
    re.DOTALL,
)
_BLOCK_START = re.compile(r"[#>+*-](?=\s|\Z)|\d{1,9}[.)](?=\s|\Z)|(?:```|~~~)|[=-]+\s*\Z")


@dataclass(slots=True)
class MarkdownText:
    """Lines that are one unit."""

    start: int
    end: int
    tokens: list[CodeToken] = field(default_factory=list)
    opening: dict[int, str] = field(default_factory=dict)
    """Marks by number; those of single codes too."""
    closing: dict[int, str] = field(default_factory=dict)


class MarkdownFile:
    """A Markdown document."""

    def __init__(self, source: str, encoding: TextEncoding) -> None:
        """Find the texts.

        Args:
            source: the document.
            encoding: of the file.
        """
        self._source, self._encoding = source, encoding
        self._texts = list(_texts(source))
        self.units = [unit_of_tokens(text.tokens, "") for text in self._texts]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The document; a text without a translation stays."""
        splices = [
            TextSplice(text.start, text.end, _written(text, answer.text))
            for text, unit, answer in zip(self._texts, self.units, translations, strict=True)
            if answer.text is not None and answer.text != unit.text
        ]
        return self._encoding.encode(splice_text(self._source, splices))


def _written(text: MarkdownText, answer: str) -> str:
    parts: list[str] = []
    for token in tokens_of_answer(" ".join(answer.splitlines()), text.tokens):
        if token.kind is CodeKind.TEXT:
            parts.append(token.text)
        else:
            parts.append((text.closing if token.kind is CodeKind.CLOSE else text.opening)[token.number])
    written = "".join(parts)
    source_begins_a_block = text.tokens[0].kind is CodeKind.TEXT and _BLOCK_START.match(text.tokens[0].text)
    return f"\\{written}" if _BLOCK_START.match(written) and not source_begins_a_block else written


def _texts(source: str) -> Iterator[MarkdownText]:
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
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(seen, known):
        if token.type == "inline" and token.map and token.content.strip():
            spans = _spans(token.content, token.map[0], lines, columns)
            yield from _of_spans(spans, lines, starts, known.get("references", {}))


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
    lines: Sequence[TextLine],
    starts: Sequence[int],
    references: Mapping[str, object],
) -> Iterator[MarkdownText]:
    """Texts of a block; a hard line break ends one."""
    run: list[tuple[int, int, int]] = []
    for place, (line, start, end) in enumerate(spans):
        text = lines[line].text
        is_hard = place + 1 < len(spans) and _HARD_BREAK.search(text)
        run.append((line, start, end - 1 if is_hard and text[:end].endswith("\\") else end))
        if is_hard or place + 1 == len(spans):
            words = join_lines([lines[number].text[begin:stop].strip() for number, begin, stop in run])
            yield _marked(words, starts[run[0][0]] + run[0][1], starts[run[-1][0]] + run[-1][2], references)
            run = []


def _marked(words: str, start: int, end: int, references: Mapping[str, object]) -> MarkdownText:
    text = MarkdownText(start, end)
    marks = list(_MARK.finditer(words))
    pairs = _pairs(words, marks, references)
    at = 0
    for index, mark in enumerate(marks):
        is_single = mark["code"] is not None or mark["single"] is not None
        if index not in pairs and not is_single:
            continue
        if mark.start() > at:
            text.tokens.append(CodeToken(CodeKind.TEXT, words[at : mark.start()]))
        at = mark.end()
        kind, number, raw = pairs.get(index, (CodeKind.SINGLE, index, mark[0]))
        (text.closing if kind is CodeKind.CLOSE else text.opening)[number] = raw
        text.tokens.append(CodeToken(kind, number=number))
    if at < len(words):
        text.tokens.append(CodeToken(CodeKind.TEXT, words[at:]))
    return text


def _pairs(
    words: str, marks: Sequence[re.Match[str]], references: Mapping[str, object]
) -> dict[int, tuple[CodeKind, int, str]]:
    """Marks that belong together, by index: kind, number of the pair, and what is written."""
    pairs: dict[int, tuple[CodeKind, int, str]] = {}
    opened: list[int] = []
    for index, mark in enumerate(marks):
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


def parse(data: bytes, languages: DocumentLanguages) -> MarkdownFile:
    """Read a Markdown document.

    Raises:
        FileFormatError: the bytes are not text.
    """
    text, encoding = decode_text(data)
    return MarkdownFile(text, encoding)
