"""Makes segments of one message of ICU MessageFormat. Pure.

The sentences of each branch are translated on their own. The model reads an argument as ``{name}``, which must be in
its answer; a plural, selectordinal or select argument within a sentence as well, and its branches are translated on
their own. The branches of a plural are those of the target language: what it has and the source has not is written
from ``other``, what it has not is left out; exact numbers (``=0``) stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from protocol.normal_form import inner_range, normal_text
from transformer.texts.documents import Segment
from transformer.texts.icu_syntax import (
    PLURALS,
    IcuArgument,
    IcuBranch,
    IcuChoice,
    IcuLiteral,
    IcuMessage,
    IcuPart,
)
from transformer.texts.icu_writing import MARK, IcuWriting
from transformer.texts.languages import LanguagePair
from transformer.texts.markup import InlineKind, InlineTag, TextRun
from transformer.texts.markup_segments import whole_ranges
from transformer.texts.patterns import has_words
from transformer.texts.plural_categories import CATEGORIES, plural_categories
from transformer.texts.segment_factory import SegmentFactory, merged

Parts = tuple[str | Segment, ...]
_NUMBERED = re.compile(r"\{\s*\d+\s*[,}]")


@dataclass(frozen=True, slots=True)
class _Token:
    """An argument of a message."""

    tag: InlineTag
    """Its place in the text that the model reads, and in the source."""
    mark: str
    """What the model reads."""
    parts: Parts
    """What is written."""


class IcuSegments:
    """Makes the segments of one text."""

    def __init__(self, factory: SegmentFactory, index: int, source: str, pair: LanguagePair) -> None:
        """Prepare for one text.

        Args:
            factory: of its request.
            index: of the text in its request.
            source: the text.
            pair: of languages.
        """
        self._factory = factory
        self._index = index
        self._source = source
        self._pair = pair
        # java.text.MessageFormat, whose arguments have numbers, needs every apostrophe doubled.
        self._doubles = "''" in source or _NUMBERED.search(source) is not None

    def of_message(self, message: IcuMessage) -> Parts:
        """What is kept and what is translated, in order."""
        return merged(self._parts(message))

    def _parts(self, message: IcuMessage) -> Iterator[str | Segment]:
        run, tokens = self._run(message)
        sentences = self._factory.sentences_of(run.text, normal_text(run.text), self._pair) or [run.text]
        kept = [(tag.offset, tag.text_end) for tag in run.tags]
        at, first, end = message.start, 0, -1
        for low, high in whole_ranges(sentences, kept):
            start, stop = inner_range(run.text[low:high])
            text = run.text[low + start : low + stop]
            normal = normal_text(text)
            if not has_words(normal):
                continue
            begin = _first_behind(tokens, low + start, first)
            last = _first_behind(tokens, low + stop, begin)
            source_start, source_end = run.source_start(low + start), run.source_end(low + stop)
            yield from self._kept(tokens[first:begin], at, source_start)
            yield Segment(
                text,
                self._source[source_start:source_end],
                self._factory.item(self._index, normal, self._pair),
                IcuWriting(message.in_plural, self._doubles),
                adjoins=end == low + start,
                tags=tuple(token.parts for token in tokens[begin:last]),
                marks=tuple(token.mark for token in tokens[begin:last]),
            )
            at, first, end = source_end, last, low + stop
        yield from self._kept(tokens[first:], at, message.end)

    def _kept(self, tokens: Sequence[_Token], start: int, end: int) -> Iterator[str | Segment]:
        """A range of the source without words of its own; its arguments may have some in their branches."""
        for token in tokens:
            yield self._source[start : token.tag.start]
            yield from token.parts
            start = token.tag.end
        yield self._source[start:end]

    def _run(self, message: IcuMessage) -> tuple[TextRun, list[_Token]]:
        """The text of a message as the model reads it, and the arguments in it."""
        run = TextRun(message.start, message.end)
        marks = _marks(self._source, message.parts)
        tokens: list[_Token] = []
        length = 0
        texts: list[str] = []
        for part in message.parts:
            text = part.text if isinstance(part, IcuLiteral) else marks[self._source[part.start : part.end]]
            if not text:
                continue
            run.offsets.append(length)
            run.sources.append((part.start, part.end))
            texts.append(text)
            if not isinstance(part, IcuLiteral) or len(text) != part.end - part.start:
                tag = InlineTag(InlineKind.KEPT, length, part.start, part.end, text_end=length + len(text))
                run.tags.append(tag)
                if not isinstance(part, IcuLiteral):
                    tokens.append(_Token(tag, text, self._written(part)))
            length += len(text)
        run.text = "".join(texts)
        return run, tokens

    def _written(self, part: IcuArgument | IcuChoice) -> Parts:
        if isinstance(part, IcuArgument):
            return (self._source[part.start : part.end],)
        parts = merged(self._choice(part))
        self._factory.count_parts(_size(parts))
        return parts

    def _choice(self, choice: IcuChoice) -> Iterator[str | Segment]:
        yield self._source[choice.start : choice.branches[0].start]
        written = {branch.selector: self.of_message(branch.message) for branch in choice.branches}
        for selector, branch in self._branches_of_target(choice):
            opening = self._source[branch.start : branch.message.start]
            yield opening if selector == branch.selector else opening.replace(branch.selector, selector, 1)
            yield from written[branch.selector]
            yield self._source[branch.message.end : branch.end]
        yield self._source[choice.branches[-1].end : choice.end]

    def _branches_of_target(self, choice: IcuChoice) -> Iterator[tuple[str, IcuBranch]]:
        """The selectors that are written, each with the branch that it is written from."""
        wanted = None
        if choice.kind in PLURALS:
            wanted = plural_categories(self._pair.target, is_ordinal=choice.kind == "selectordinal")
        known = {branch.selector for branch in choice.branches}
        for branch in choice.branches:
            if wanted is not None and branch.selector == "other":
                yield from ((each, branch) for each in wanted if each not in known)
            if wanted is None or branch.selector in wanted or branch.selector not in CATEGORIES:
                yield branch.selector, branch


def _first_behind(tokens: Sequence[_Token], offset: int, number: int) -> int:
    """The number of the first token from ``number`` on that does not begin before an offset."""
    while number < len(tokens) and tokens[number].tag.offset < offset:
        number += 1
    return number


def literal_texts(message: IcuMessage) -> Iterator[str]:
    """The literal text of a message and of all branches in it, stretch by stretch."""
    for part in message.parts:
        if isinstance(part, IcuLiteral):
            yield part.text
        elif isinstance(part, IcuChoice):
            yield " "
            for branch in part.branches:
                yield from literal_texts(branch.message)
                yield "\n"


def _marks(source: str, parts: Sequence[IcuPart]) -> dict[str, str]:
    """What the model reads for each argument of a message, by its source: ``{name}`` if nothing else is so called."""
    literal = "".join(part.text for part in parts if isinstance(part, IcuLiteral))
    taken = set(MARK.findall(literal))
    marks: dict[str, str] = {}
    number = 0
    for part in parts:
        raw = source[part.start : part.end]
        if isinstance(part, IcuLiteral) or raw in marks:
            continue
        mark = f"{{{part.name}}}"
        while not MARK.fullmatch(mark) or mark in taken or normal_text(mark) != mark:
            number += 1
            mark = f"{{arg{number}}}"
        taken.add(mark)
        marks[raw] = mark
    return marks


def _size(parts: Parts) -> int:
    """How many segments and kept parts are written for ``parts``."""
    return sum(1 if isinstance(part, str) else 1 + sum(map(_size, part.tags)) for part in parts)
