"""The texts of a request as documents: what is translated of each, and its translation put together. Pure.

:mod:`transformer.texts.segments` makes documents of texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from protocol.errors import YiwenError
from protocol.messages import CacheStatus, FinishReason, TextError, TextFormat, Translation
from protocol.normal_form import inner_range
from transformer.texts.languages import LanguagePair
from transformer.texts.markup import escape_text
from transformer.texts.scripts import needs_space
from transformer.texts.work_item import WorkItem, WorkResult

_TEXT_NUMBER = re.compile(r"\Atext \d+: ")
_NEWEST_FIRST = (CacheStatus.MISS, CacheStatus.SHARED, CacheStatus.HIT)
"""The status of a text is the first of these that one of its segments has."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text that is translated on its own."""

    text: str
    """As the caller means it, with entities resolved."""
    raw: str
    """As it stands in the caller's text."""
    item: WorkItem
    """What is translated; one object for all equal segments of a request."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a request."""

    index: int
    """Place in the request, from 0."""
    text: str
    """As the caller sent it."""
    pair: LanguagePair
    parts: tuple[str | Segment, ...]
    """What is kept and what is translated, in order."""
    text_format: TextFormat = TextFormat.TEXT
    error: YiwenError | None = None
    """Why the text cannot be translated; such a document has no segments."""

    @property
    def segments(self) -> Iterator[Segment]:
        """The parts that are translated, in order."""
        return (part for part in self.parts if isinstance(part, Segment))

    def restore(self, translations: Mapping[WorkItem, str]) -> str:
        """The text with each segment's translation in its place. A segment that did not change keeps its bytes.

        Between sentences stands the white space that was there; where there was none, one space stands between two
        that set words apart.
        """
        parts: list[str] = []
        for part, before in zip(self.parts, (None, *self.parts), strict=False):
            put = part if isinstance(part, str) else self.restore_segment(part, translations[part.item])
            adjoin = isinstance(part, Segment) and isinstance(before, Segment)
            if adjoin and needs_space(parts[-1], put):
                parts.append(" ")
            parts.append(put)
        return "".join(parts)

    def restore_segment(self, segment: Segment, translation: str) -> str:
        """``translation`` as it stands in the place of ``segment``."""
        if self.text_format is TextFormat.TEXT:
            if segment.text == segment.item.text:
                return translation.strip()  # no white space around it
            return with_outer_space_of(segment.text, translation)
        if translation == segment.item.text:
            return segment.raw
        return escape_text(with_outer_space_of(segment.text, translation))


def work_items(documents: Iterable[Document]) -> list[WorkItem]:
    """The distinct items of all segments, in the order of their first segments."""
    return list(dict.fromkeys(segment.item for document in documents for segment in document.segments))


def translation_of(document: Document, results: Mapping[WorkItem, WorkResult]) -> Translation:
    """The answer to one text.

    The confidence is the lowest of the text's segments. The flags are those of all of them, and the finish reason is
    that of the first segment that did not end with a stop token.

    Args:
        document: one text of a request.
        results: of all its segments.
    """
    source = document.pair.source
    if document.error is not None:
        return _failed(source, document.error)
    if len(document.parts) == 1 and isinstance(
        only := document.parts[0], Segment
    ):  # most texts are one segment
        result = results[only.item]
        if result.error is not None:
            return _failed(source, result.error)
        text, cache = document.restore_segment(only, result.text), _cache_of(document, only, result)
        return Translation(text, source, result.confidence, cache, result.finish_reason, result.flags)
    own = [(segment, results[segment.item]) for segment in document.segments]
    for _, result in own:
        if result.error is not None:
            return _failed(source, result.error)
    text = document.restore({segment.item: result.text for segment, result in own})
    if not own:
        return Translation(text, source, 1.0, CacheStatus.BYPASS)
    statuses = {_cache_of(document, segment, result) for segment, result in own}
    reasons = [each.finish_reason for _, each in own if each.finish_reason is not FinishReason.STOP]
    return Translation(
        text,
        source,
        min(result.confidence for _, result in own),
        next(status for status in _NEWEST_FIRST if status in statuses),
        reasons[0] if reasons else FinishReason.STOP,
        tuple(dict.fromkeys(flag for _, result in own for flag in result.flags)),
    )


def _failed(source: str, error: YiwenError) -> Translation:
    described = TextError(error.code, _TEXT_NUMBER.sub("", error.message))
    return Translation("", source, 0.0, CacheStatus.NONE, error=described)


def with_outer_space_of(text: str, translation: str) -> str:
    """``translation`` with the white space and the invisible characters that ``text`` begins and ends with."""
    start, end = inner_range(text)
    if start == end:
        return text
    return f"{text[:start]}{translation.strip()}{text[end:]}"


def _cache_of(document: Document, segment: Segment, result: WorkResult) -> CacheStatus:
    """A result that was generated for an earlier text of the request is shared by the later ones."""
    is_generated = result.cache is CacheStatus.MISS
    return CacheStatus.SHARED if is_generated and segment.item.index != document.index else result.cache
