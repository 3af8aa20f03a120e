"""The tags within one sentence as spans of its text, which :mod:`transformer.texts.tag_placement` places. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from transformer.texts.markup import InlineKind, InlineTag
from transformer.texts.scripts import is_spaced_letter
from transformer.texts.work_item import WorkItem

MAX_TAGS = 128
"""Tags of a sentence that are placed by what they enclose; if it has more, all are placed in their order."""
MAX_DEPTH = 16
"""Elements within each other, as above."""


class SpanKind(Enum):
    """How a span is placed."""

    ELEMENT = "element"
    """Around the translation of its text."""
    BEGUN = "begun"
    """As above, from the sentence's start on: its element begins before the sentence."""
    UNENDED = "unended"
    """As above, up to the sentence's end: its element ends behind the sentence."""
    KEPT = "kept"
    """In the place of its text, which the translation contains unchanged."""
    POINT = "point"
    """Between the translations of what stands before and behind it: an element without text."""
    ORDERED = "ordered"
    """As a point, in the order of all such tags of the sentence."""
    SILENT = "silent"
    """As an ordered point whose exact place is of no account."""


@dataclass(frozen=True, slots=True)
class InlineSpan:
    """A part of a sentence that tags enclose, or a place in it where one stands."""

    kind: SpanKind
    start: int
    end: int
    """Range in the text of the sentence."""
    opening: int | None
    """Number of its tag at the start, in the order of the sentence; None if that is not within the sentence."""
    closing: int | None = None
    """Number of its tag at the end, likewise."""
    children: tuple[InlineSpan, ...] = ()
    alone: WorkItem | None = None
    """Its text as a text of its own; of a point the text before it."""
    without: WorkItem | None = None
    """The sentence without its text; of a point the text behind it."""


ItemMaker = Callable[[str], "WorkItem | None"]
"""Makes an item of a text; returns None for a text without words, and where there are too many already."""

_POINT_KINDS = {InlineKind.POINT: SpanKind.POINT, InlineKind.COMMENT: SpanKind.SILENT}


@dataclass(slots=True)
class _Open:
    """A span whose end is not yet known."""

    span: InlineSpan
    children: list[InlineSpan] = field(default_factory=list)


def partners(tags: Sequence[InlineTag]) -> dict[int, int]:
    """The number of the other tag of each element that has both, by the numbers of its tags."""
    found: dict[int, int] = {}
    open_by_name: dict[str, list[int]] = {}
    opened: list[int] = []
    for number, tag in enumerate(tags):
        if tag.kind is InlineKind.OPEN:
            opened.append(number)
            open_by_name.setdefault(tag.name, []).append(number)
        elif tag.kind is InlineKind.CLOSE and open_by_name.get(tag.name):
            start = open_by_name[tag.name][-1]
            while opened[-1] >= start:
                open_by_name[tags[opened.pop()].name].pop()
                if not opened:
                    break
            found[start], found[number] = number, start
    return found


def spans_of(
    text: str,
    tags: Sequence[InlineTag],
    pairs: Mapping[int, int],
    make_item: ItemMaker,
) -> tuple[InlineSpan, ...]:
    """The spans of a sentence, as a forest.

    Args:
        text: of the sentence, in normal form.
        tags: within the sentence, with their places in ``text``.
        pairs: as :func:`partners` returns it, for these tags.
        make_item: makes the texts whose translations help to find places.
    """
    if len(tags) <= MAX_TAGS:
        spans = _Forest(text, tags, pairs).spans()
        if _depth_of(spans) <= MAX_DEPTH:
            return _with_items(text, spans, make_item)
    return tuple(
        InlineSpan(SpanKind.ORDERED, tag.offset, tag.offset, number) for number, tag in enumerate(tags)
    )


class _Forest:
    """Makes spans of the tags of one sentence, in their order."""

    def __init__(self, text: str, tags: Sequence[InlineTag], pairs: Mapping[int, int]) -> None:
        self._text = text
        self._tags = tags
        self._pairs = pairs
        self._root: list[InlineSpan] = []
        self._stack: list[_Open] = []
        self._has_unended = False
        self._begun = [
            number
            for number, tag in enumerate(tags)
            if tag.kind is InlineKind.CLOSE and number not in pairs and self._is_outermost(number)
        ]

    def spans(self) -> tuple[InlineSpan, ...]:
        for number in reversed(self._begun):
            self._open(SpanKind.BEGUN, number, 0)
        for number in range(len(self._tags)):
            self._add(number)
        while self._stack:
            self._close(len(self._text), None)
        return tuple(self._root)

    def _add(self, number: int) -> None:
        tag = self._tags[number]
        if tag.kind is InlineKind.KEPT:
            self._append(InlineSpan(SpanKind.KEPT, tag.offset, tag.text_end, number))
        elif tag.kind is InlineKind.OPEN and number in self._pairs:
            self._open(SpanKind.ELEMENT, number, tag.offset)
        elif tag.kind is InlineKind.OPEN and self._is_outermost(number):
            self._has_unended = True
            self._open(SpanKind.UNENDED, number, tag.offset)
        elif number in self._pairs or (number in self._begun and not self._has_unended):
            self._close(tag.offset, number)
        else:
            kind = _POINT_KINDS.get(tag.kind, SpanKind.ORDERED)
            self._append(InlineSpan(kind, tag.offset, tag.offset, number))

    def _append(self, span: InlineSpan) -> None:
        (self._stack[-1].children if self._stack else self._root).append(span)

    def _open(self, kind: SpanKind, number: int, start: int) -> None:
        opening = None if kind is SpanKind.BEGUN else number
        self._stack.append(_Open(InlineSpan(kind, start, start, opening)))

    def _close(self, end: int, closing: int | None) -> None:
        ended = self._stack.pop()
        span = replace(ended.span, end=end, closing=closing, children=tuple(ended.children))
        is_empty = span.kind is SpanKind.ELEMENT and not self._text[span.start : end].strip()
        self._append(replace(span, kind=SpanKind.POINT, end=span.start) if is_empty else span)

    def _is_outermost(self, number: int) -> bool:
        """Whether no element encloses the tag with this number."""
        return not any(start < number < end for start, end in self._pairs.items())


def _depth_of(spans: Sequence[InlineSpan]) -> int:
    depth, level = 0, list(spans)
    while level:
        depth, level = depth + 1, [child for span in level for child in span.children]
    return depth


def _with_items(
    text: str, spans: Sequence[InlineSpan], make_item: ItemMaker, start: int = 0, end: int | None = None
) -> tuple[InlineSpan, ...]:
    """``spans`` with the texts whose translations help to place them.

    Args:
        text: of the sentence.
        spans: of one level.
        make_item: makes the texts.
        start: of the range that ``spans`` are in.
        end: of that range; None for the end of the text.
    """
    stop = len(text) if end is None else end
    made: list[InlineSpan] = []
    for place, span in enumerate(spans):
        if span.kind in (SpanKind.ELEMENT, SpanKind.BEGUN, SpanKind.UNENDED):
            low, high = whole_words(text, span.start, span.end)
            alone = make_item(text[low:high])
            span = replace(
                span,
                alone=alone,
                without=make_item(f"{text[:low]} {text[high:]}") if alone else None,
                children=_with_items(text, span.children, make_item, span.start, span.end),
            )
        elif span.kind in (SpanKind.POINT, SpanKind.ORDERED) and start < span.start < stop:
            before = max([start, *(each.end for each in spans[:place])])
            behind = min([stop, *(each.start for each in spans[place + 1 :] if each.start > span.start)])
            if before < span.start < behind:
                span = replace(
                    span,
                    alone=make_item(text[before : span.start]),
                    without=make_item(text[span.start : behind]),
                )
        made.append(span)
    return tuple(made)


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The range from ``start`` to ``end`` without outer white space, but with all of the words that it cuts."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and is_inside_word(text, start):
        start -= 1
    while end > start and is_inside_word(text, end):
        end += 1
    return start, end


def is_inside_word(text: str, place: int) -> bool:
    """Whether the characters on both sides of ``place`` belong to one word of a script with spaces."""
    return 0 < place < len(text) and is_spaced_letter(text[place - 1]) and is_spaced_letter(text[place])
