"""SubRip (.srt) and WebVTT (.vtt): the text of a cue is a unit; numbers, times, notes and line counts stay.

The lines of a cue are joined for the translation, since they are broken for width, and broken again behind it. Lines
that begin with a dash are said by different people: each is a unit of its own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from documents.encoding import TextEncoding, decode_text
from documents.inline_codes import CodeKind, CodeToken, plain_text, tokens_of_answer, unit_of_tokens
from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.plain_text import TextLine, split_lines
from documents.subtitle_lines import break_lines, join_lines

_TIMING = re.compile(
    r"\s*(?:\d+:)?\d{1,2}:\d{2}[,.]\d{1,3}\s*-->\s*(?:\d+:)?\d{1,2}:\d{2}[,.]\d{1,3}(?:\s.*)?"
)
_DASH = re.compile(r"\s*[-–—‐]\s*\S")
_CODE = re.compile(r"<(/?)([A-Za-z][\w-]*)((?:[.\s][^<>]*)?)>|<[\d:.]+>|\{\\[^{}]*\}")
_KEPT_BLOCKS = ("NOTE", "STYLE", "REGION")


@dataclass(frozen=True, slots=True)
class CueText:
    """A part of a cue that is one unit."""

    first: int
    """Index of its first line in the file."""
    count: int
    """Lines of it."""
    codes: tuple[str, ...]
    """Tags and overrides, by number."""
    tokens: tuple[CodeToken, ...]
    cue: int
    """Number of the cue, from 1."""


class SubtitleFile:
    """A file of cues."""

    def __init__(self, lines: Sequence[TextLine], encoding: TextEncoding, *, has_entities: bool) -> None:
        """Find the cues.

        Args:
            lines: of the file.
            encoding: of the file.
            has_entities: whether ``&amp;`` and its like stand for characters, as in WebVTT.
        """
        self._lines, self._encoding, self._has_entities = lines, encoding, has_entities
        self._texts = [
            self._cue_text(first, count, cue)
            for cue, (start, end) in enumerate(_cues(lines), start=1)
            for first, count in _parts(lines, start, end)
        ]
        self.units: list[TextUnit] = [unit_of_tokens(each.tokens, f"cue {each.cue}") for each in self._texts]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The file with the cues translated; one without a translation stays."""
        written = [f"{line.text}{line.end}" for line in self._lines]
        for text, unit, answer in zip(self._texts, self.units, translations, strict=True):
            if answer.text is None or answer.text == unit.text or not answer.text.strip():
                continue
            last = self._lines[text.first + text.count - 1].end
            between = self._lines[text.first].end or "\n"
            broken = self._broken(tokens_of_answer(answer.text, text.tokens), text)
            written[text.first : text.first + text.count] = [
                between.join(broken) + last,
                *[""] * (text.count - 1),
            ]
        return self._encoding.encode("".join(written))

    def _cue_text(self, first: int, count: int, cue: int) -> CueText:
        joined = join_lines([line.text.strip() for line in self._lines[first : first + count]])
        codes: list[str] = []
        tokens = tuple(self._tokens(joined, codes))
        return CueText(first, count, tuple(codes), tokens, cue)

    def _tokens(self, text: str, codes: list[str]) -> Iterator[CodeToken]:
        found = list(_CODE.finditer(text))
        pairs = _pairs([(each[1], each[2]) for each in found])
        at = 0
        for index, code in enumerate(found):
            if code.start() > at:
                yield CodeToken(CodeKind.TEXT, self._resolved(text[at : code.start()]))
            at = code.end()
            codes.append(code[0])
            kind, number = pairs.get(index, (CodeKind.SINGLE, index))
            yield CodeToken(kind, number=number)
        if at < len(text):
            yield CodeToken(CodeKind.TEXT, self._resolved(text[at:]))

    def _resolved(self, text: str) -> str:
        return html.unescape(text) if self._has_entities else text

    def _broken(self, tokens: Sequence[CodeToken], text: CueText) -> list[str]:
        """Lines of an answer: broken without its codes, which are put back in their places."""
        closing = {
            token.number: index
            for index, token in enumerate(_codes_of(text.tokens))
            if token.kind is CodeKind.CLOSE
        }
        opening = {
            token.number: index
            for index, token in enumerate(_codes_of(text.tokens))
            if token.kind is not CodeKind.CLOSE
        }
        flat = " ".join(plain_text(tokens).split("\n"))
        lines = break_lines(flat, text.count)
        places = _line_starts(flat, lines)
        parts: list[str] = []
        at = 0
        for token in tokens:
            if token.kind is CodeKind.TEXT:
                parts.append(self._with_breaks(token.text.replace("\n", " "), at, places))
                at += len(token.text)
            else:
                parts.append(text.codes[(closing if token.kind is CodeKind.CLOSE else opening)[token.number]])
        return [line.strip() for line in "".join(parts).split("\n")]

    def _with_breaks(self, text: str, at: int, places: Sequence[int]) -> str:
        """A part of the answer that begins at ``at``, with a line feed at each of ``places``."""
        inside = [place - at for place in places if at <= place < at + len(text)]
        cuts = [0, *inside, len(text)]
        pieces = [text[start:end] for start, end in pairwise(cuts)]
        escaped = [html.escape(piece, quote=False) if self._has_entities else piece for piece in pieces]
        return "\n".join(escaped)


def _codes_of(tokens: Sequence[CodeToken]) -> list[CodeToken]:
    return [token for token in tokens if token.kind is not CodeKind.TEXT]


def _line_starts(text: str, lines: Sequence[str]) -> list[int]:
    """Where in ``text`` each line but the first begins."""
    places: list[int] = []
    at = 0
    for line in lines:
        at = text.index(line, at)
        places.append(at)
        at += len(line)
    return places[1:]


def _pairs(tags: Sequence[tuple[str | None, str | None]]) -> dict[int, tuple[CodeKind, int]]:
    """Tags that belong together, by index: kind, and the index of the start tag."""
    pairs: dict[int, tuple[CodeKind, int]] = {}
    opened: list[tuple[str, int]] = []
    for index, (slash, name) in enumerate(tags):
        if not name:
            continue
        if not slash:
            opened.append((name, index))
        elif opened and opened[-1][0] == name:
            start = opened.pop()[1]
            pairs[start], pairs[index] = (CodeKind.OPEN, start), (CodeKind.CLOSE, start)
        else:
            opened.clear()  # tangled tags are single codes
    return pairs


def _cues(lines: Sequence[TextLine]) -> Iterator[tuple[int, int]]:
    """Start and end of the text lines of each cue."""
    starts = [index + 1 for index, line in enumerate(lines) if _TIMING.fullmatch(line.text)]
    for start, following in pairwise([*starts, len(lines) + 1]):
        end = following - 1
        if following <= len(lines) and end > start and lines[end - 1].text.strip():
            end -= 1  # the number or the name of the next cue
        yield start, max(start, end)


def _parts(lines: Sequence[TextLine], start: int, end: int) -> Iterator[tuple[int, int]]:
    """First line and number of lines of each unit of a cue. Blocks of WebVTT behind it are left out."""
    index = start
    while index < end:
        if not lines[index].text.strip():
            index += 1
            continue
        stop = next((at for at in range(index, end) if not lines[at].text.strip()), end)
        if not (index > start and lines[index].text.startswith(_KEPT_BLOCKS)):
            dashed = [at for at in range(index, stop) if _DASH.match(lines[at].text)]
            cuts = sorted({index, *dashed, stop}) if len(dashed) > 1 else [index, stop]
            yield from ((first, last - first) for first, last in pairwise(cuts))
        index = stop


def parse_cues(data: bytes, *, has_entities: bool) -> SubtitleFile:
    """Read a file of cues.

    Args:
        data: the file's bytes.
        has_entities: as :class:`SubtitleFile` has it.

    Raises:
        FileFormatError: the bytes are not text, or hold no times.
    """
    text, encoding = decode_text(data)
    lines = list(split_lines(text))
    if any(line.text.strip() for line in lines) and not has_entities and not any(_cues(lines)):
        raise FileFormatError("it holds no line with times (00:00:01,000 --> 00:00:02,000)")
    return SubtitleFile(lines, encoding, has_entities=has_entities)


def parse(data: bytes, languages: DocumentLanguages) -> SubtitleFile:
    """Read a SubRip file.

    Raises:
        FileFormatError: the bytes are not text, or hold no times.
    """
    return parse_cues(data, has_entities=False)
