"""Writes tags within a sentence in the form that a model was trained on, and reads them from its answer. Pure.

``<s1>cotton</s1>`` of HY-MT stands for any element; other models have no numbers in their tags. An answer counts only
if it has each tag once, nested as in the sentence; else :mod:`transformer.texts.tag_placement` puts the tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from protocol.translation_spec import TAG_NUMBER, TagForm
from transformer.texts.inline_tags import InlineSpan, SpanKind


def tagged_text(text: str, spans: Sequence[InlineSpan], tags: Sequence[object], form: TagForm) -> str | None:
    """``text`` with its tags in a release's form; None if they could not be told from one another in an answer.

    Args:
        text: of the sentence, without its tags.
        spans: what its tags enclose.
        tags: what each tag is written as.
        form: of the release.
    """
    elements = [span for span, _ in _elements(spans)]
    if not elements or any(span.kind is not SpanKind.ELEMENT for span in elements):
        return None
    written = {(tags[span.opening or 0], tags[span.closing or 0]) for span in elements}
    if (len(written) > 1 and not form.is_numbered) or _expression(form).search(text):
        return None
    numbers = {id(span): str(number) for number, span in enumerate(elements, start=1)}
    return "".join(_written(text, spans, form, (0, len(text)), numbers))


def read_tags(answer: str, spans: Sequence[InlineSpan], form: TagForm) -> list[str | int] | None:
    """The text of an answer and the numbers of its tags, in order; None unless each is there once, nested as before.

    Args:
        answer: to what :func:`tagged_text` made.
        spans: of the sentence.
        form: of the release.
    """
    reader = _AnswerReader(list(_elements(spans)))
    at = 0
    for found in _expression(form).finditer(answer):
        reader.add_text(answer[at : found.start()])
        at = found.end()
        number = next(filter(None, found.groups()[1:]), None)
        if not (reader.close(number) if found[1] is None else reader.open(number)):
            return None
    reader.add_text(answer[at:])
    return reader.parts if reader.is_complete else None


class _AnswerReader:
    """Takes the tags of one answer in their order."""

    def __init__(self, elements: Sequence[tuple[InlineSpan, int]]) -> None:
        self._elements = elements
        self._opened: list[tuple[int, int]] = []
        """Places of elements that are not yet closed, and the length of the text before each."""
        self._seen: set[int] = set()
        self._length = 0
        self.parts: list[str | int] = []

    @property
    def is_complete(self) -> bool:
        """Whether each tag was there."""
        return not self._opened and len(self._seen) == len(self._elements)

    def add_text(self, text: str) -> None:
        self._length += len(text)
        if text:
            self.parts.append(text)

    def open(self, number: str | None) -> bool:
        """Take an opening tag; False if it is not the first of its element, within the same element as in the source.

        Args:
            number: in the tag; without one it is that of the next element.
        """
        place = int(number) - 1 if number else len(self._seen)
        if place in self._seen or not 0 <= place < len(self._elements):
            return False
        span, parent = self._elements[place]
        if parent != (self._opened[-1][0] if self._opened else -1):
            return False
        self._seen.add(place)
        self._opened.append((place, self._length))
        self.parts.append(span.opening or 0)
        return True

    def close(self, number: str | None) -> bool:
        """Take a closing tag; False if it is not that of the innermost element, or if that has no text.

        Args:
            number: in the tag; None if it has none.
        """
        if not self._opened:
            return False
        place, length = self._opened.pop()
        self.parts.append(self._elements[place][0].closing or 0)
        return length < self._length and (number is None or int(number) == place + 1)


def _elements(
    spans: Sequence[InlineSpan], parent: int = -1, first: int = 0
) -> Iterator[tuple[InlineSpan, int]]:
    """All spans in the order of their beginnings, each with the place of the one around it, or -1.

    Args:
        spans: of one level.
        parent: place of the span around them.
        first: place of the first of them.
    """
    for span in spans:
        yield span, parent
        inner = list(_elements(span.children, first, first + 1))
        yield from inner
        first += 1 + len(inner)


def _written(
    text: str,
    spans: Sequence[InlineSpan],
    form: TagForm,
    within: tuple[int, int],
    numbers: dict[int, str],
) -> Iterator[str]:
    """A range of a sentence with the tags of the spans in it.

    Args:
        text: of the sentence.
        spans: of one level.
        form: of the release.
        within: start and end of the range.
        numbers: of all spans, by their identity.
    """
    at, end = within
    for span in spans:
        yield text[at : span.start]
        number = numbers[id(span)]
        yield form.opening.replace(TAG_NUMBER, number)
        yield from _written(text, span.children, form, (span.start, span.end), numbers)
        yield form.closing.replace(TAG_NUMBER, number)
        at = span.end
    yield text[at:end]


@lru_cache(maxsize=16)
def _expression(form: TagForm) -> re.Pattern[str]:
    """Matches every tag of a form; the first group is an opening one, the others are numbers."""
    opening, closing = (
        re.escape(mark).replace(re.escape(TAG_NUMBER), r"(\d{1,3})") for mark in (form.opening, form.closing)
    )
    return re.compile(f"({opening})|{closing}")
