"""The texts of a request as documents: what is translated of each, and its translation put together. Pure.

:mod:`transformer.texts.segments` makes documents of texts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from protocol.errors import InternalFault, YiwenError
from protocol.fast_dataclass import fast_dataclass
from protocol.messages import CacheStatus, FinishReason, TextError, TextFormat, Translation
from protocol.normal_form import inner_range
from protocol.translation_spec import TagForm
from transformer.texts.icu_writing import IcuWriting, split_at_marks
from transformer.texts.inline_tags import InlineSpan, SpanKind
from transformer.texts.languages import LanguagePair
from transformer.texts.markdown_writing import MarkdownWriting
from transformer.texts.markup import escape_text
from transformer.texts.scripts import needs_space
from transformer.texts.tag_form import read_tags
from transformer.texts.tag_placement import place_tags, uncertain_items
from transformer.texts.work_item import WorkItem, WorkResult

MARKUP = "markup"
"""The flag of a text with tags that were placed by their position."""
PLACEHOLDER = "placeholder"
"""The flag of a text with a part that kept its source, since its translation lost an argument."""
MOST_FOLLOW_UPS = 2
"""How often :func:`follow_up_items` may name more."""
_TEXT_NUMBER = re.compile(r"\Atext \d+: ")
_NEWEST_FIRST = (CacheStatus.MISS, CacheStatus.SHARED, CacheStatus.HIT)
"""The status of a text is the first of these that one of its segments has."""


class Writing(Enum):
    """How a translation is written in its place."""

    TEXT = "text"
    """As it is."""
    MARKUP = "markup"
    """With entities for what would be markup."""
    QUOTED = "quoted"
    """As the value of an attribute that is in quotation marks."""
    UNQUOTED = "unquoted"
    """As above; the quotation marks are added."""
    CDATA = "CDATA"
    """In a CDATA section, whose end it must not hold."""


@dataclass(frozen=True, slots=True)
class TaggedItem:
    """A sentence with its tags in the form that the release's model was trained on."""

    item: WorkItem
    form: TagForm

    def parts(
        self, spans: Sequence[InlineSpan], translations: Mapping[WorkItem, str]
    ) -> Sequence[str | int] | None:
        """The text and the numbers of the tags of its translation; None if there is none that has them all.

        Args:
            spans: what the tags enclose.
            translations: as of :meth:`Segment.restore`.
        """
        answer = translations.get(self.item)
        return None if answer is None else read_tags(answer, spans, self.form)


@fast_dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text that is translated on its own."""

    text: str
    """As the caller means it: with entities resolved, without tags."""
    raw: str
    """As it stands in the caller's text."""
    item: WorkItem
    """What is translated; one object for all equal segments of a request."""
    writing: Writing | IcuWriting | MarkdownWriting = Writing.TEXT
    adjoins: bool = False
    """Whether no white space is between it and the segment before it, and no markup that a sentence ends at."""
    tags: tuple[tuple[str | Segment, ...], ...] = ()
    """The tags within it, or arguments of an ICU message. Their attributes and branches may be translated, too."""
    spans: tuple[InlineSpan, ...] = ()
    """What the tags enclose."""
    marks: tuple[str, ...] = ()
    """What stands in the item's text for each of the arguments of an ICU message."""
    tagged: TaggedItem | None = None
    """What is tried before its tags are placed; None where the release's model knows no tags."""

    @property
    def items(self) -> Iterator[WorkItem]:
        """What is translated for it at first."""
        yield self.item
        if self.tagged is None:
            yield from _own_items(self.spans)
        else:
            yield self.tagged.item
        for segment in self.inner_segments:
            yield from segment.items

    @property
    def inner_segments(self) -> Iterator[Segment]:
        """The segments in the attributes of its tags, or in the branches of its arguments."""
        return (part for tag in self.tags for part in tag if isinstance(part, Segment))

    @property
    def with_inner_segments(self) -> Iterator[Segment]:
        """It, and the segments within it, at any depth."""
        yield self
        for segment in self.inner_segments:
            yield from segment.with_inner_segments

    def missing_items(self, translations: Mapping[WorkItem, str]) -> list[WorkItem]:
        """What else would help to put its tags into their places, once :attr:`items` are translated.

        Asked again with the translations of these, it may name more (:data:`MOST_FOLLOW_UPS`).
        """
        answer = translations[self.item]
        if not self.spans or answer == self.item.text:
            return []
        if self.tagged is not None:
            if self.tagged.parts(self.spans, translations) is not None:
                return []
            if own := [item for item in _own_items(self.spans) if item not in translations]:
                return own
        return uncertain_items(self.item.text, self.spans, _inner(answer), translations)

    def restore(self, translations: Mapping[WorkItem, str]) -> tuple[str, tuple[str, ...]]:
        """The translation as it stands in the place of the segment, and flags that speak against it.

        Args:
            translations: of :attr:`item`, and as many of the others as are known.
        """
        answer = translations[self.item]
        if self.writing is Writing.TEXT:
            return self.plain(answer), ()
        if answer == self.item.text and not any(self.inner_segments):
            return self.raw, ()
        if isinstance(self.writing, IcuWriting):
            pieces = split_at_marks(_inner(answer), self.marks)
            return (self.raw, (PLACEHOLDER,)) if pieces is None else self._joined(pieces, translations)
        text, flags = self._with_tags(answer, translations)
        return self.writing.whole(text) if isinstance(self.writing, MarkdownWriting) else text, flags

    def _with_tags(self, answer: str, translations: Mapping[WorkItem, str]) -> tuple[str, tuple[str, ...]]:
        """``answer`` with the tags in their places, and flags."""
        if not self.tags:
            return self._written(with_outer_space_of(self.text, answer)), ()
        known = None if self.tagged is None else self.tagged.parts(self.spans, translations)
        if known is not None:
            _check_tags(known, len(self.tags))
            return self._joined(known, translations)
        placed = place_tags(self.item.text, self.spans, _inner(answer), translations)
        _check_tags(placed.parts, len(self.tags))
        text, flags = self._joined(placed.parts, translations)
        return text, flags if placed.is_sure else (*flags, MARKUP)

    def _joined(
        self, pieces: Sequence[str | int], translations: Mapping[WorkItem, str]
    ) -> tuple[str, tuple[str, ...]]:
        """Text and tags as they are written, and flags.

        Args:
            pieces: text, and the numbers of tags, in order.
            translations: as of :meth:`restore`.
        """
        written: list[str] = []
        flags: list[str] = []
        for piece in pieces:
            if isinstance(piece, str):
                written.append(self._written(piece))
                continue
            text, found = restore_parts(self.tags[piece], translations)
            written.append(text)
            flags += found
        if isinstance(self.writing, MarkdownWriting):
            marks = [place for place, piece in enumerate(pieces) if isinstance(piece, int)]
            return self.writing.joined(written, marks), tuple(flags)
        return "".join(written), tuple(flags)

    def plain(self, answer: str) -> str:
        """``answer`` with the white space around the segment."""
        if self.text == self.item.text:
            return answer.strip()  # no white space around it
        return with_outer_space_of(self.text, answer)

    def _written(self, text: str) -> str:
        if not isinstance(self.writing, Writing):
            return self.writing.written(text)
        match self.writing:
            case Writing.QUOTED:
                return html.escape(text)
            case Writing.UNQUOTED:
                return f'"{html.escape(text)}"'
            case Writing.CDATA:
                return text.replace("]]>", "]]]]><![CDATA[>")
            case _:
                return escape_text(text)


@fast_dataclass(frozen=True, slots=True)
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
    ignored: tuple[str, ...] = ()
    """Request parameters that the release has no place for, for this text's flags."""

    @property
    def has_tags(self) -> bool:
        """Whether there are tags within its sentences."""
        return self.text_format is not TextFormat.TEXT and any(
            isinstance(part, Segment) and part.spans for part in self.parts
        )

    @property
    def segments(self) -> Iterator[Segment]:
        """The parts that are translated, in order; of the tags in a segment what is translated in them."""
        for part in self.parts:
            if isinstance(part, Segment):
                if part.tags:
                    yield from part.with_inner_segments
                else:
                    yield part

    def restore(self, translations: Mapping[WorkItem, str]) -> str:
        """The text with each segment's translation in its place. A segment that did not change keeps its bytes.

        Between sentences stands the white space that was there; where there was none and the translation's words
        have spaces, they get one.
        """
        return restore_parts(self.parts, translations)[0]


def restore_parts(
    parts: Iterable[str | Segment], translations: Mapping[WorkItem, str]
) -> tuple[str, tuple[str, ...]]:
    """Parts of a text with each segment's translation in its place, and flags that speak against it.

    Args:
        parts: in order.
        translations: as of :meth:`Segment.restore`.
    """
    written: list[str] = []
    flags: list[str] = []
    before: Segment | None = None
    for part in parts:
        if isinstance(part, str):
            written.append(part)
            continue
        text, found = part.restore(translations)
        written += [joint(before, part, translations), text]
        flags += found
        before = part
    return "".join(written), tuple(flags)


def joint(before: Segment | None, segment: Segment, translations: Mapping[WorkItem, str]) -> str:
    """The space that the translation needs before ``segment``, where the source had none; mostly empty.

    Args:
        before: the segment before it.
        segment: a segment.
        translations: of both.
    """
    if before is None or not segment.adjoins:
        return ""
    return " " if needs_space(translations[before.item], translations[segment.item]) else ""


def work_items(documents: Iterable[Document]) -> list[WorkItem]:
    """The distinct items of all segments, in the order of their first segments."""
    return list(
        dict.fromkeys(
            item
            for document in documents
            for part in document.parts
            if isinstance(part, Segment)
            for item in (part.items if part.tags else (part.item,))
        )
    )


def follow_up_items(documents: Iterable[Document], results: Mapping[WorkItem, WorkResult]) -> list[WorkItem]:
    """What else would help to put tags into their places, once :func:`work_items` are translated."""
    tagged = [
        part
        for document in documents
        if document.has_tags
        for part in document.parts
        if isinstance(part, Segment) and part.spans and results[part.item].error is None
    ]
    if not tagged:
        return []
    translations = _Translations(results)
    return list(dict.fromkeys(item for part in tagged for item in part.missing_items(translations)))


def translation_of(document: Document, results: Mapping[WorkItem, WorkResult]) -> Translation:
    """The answer to one text.

    The confidence is the lowest of the text's segments. The flags are those of all of them, and the finish reason is
    that of the first segment that did not end with a stop token.

    Args:
        document: one text of a request.
        results: of all its segments.
    """
    source, target = document.pair.source, document.pair.target
    if document.error is not None:
        return _failed(document, document.error)
    if (
        len(document.parts) == 1
        and isinstance(only := document.parts[0], Segment)
        and only.writing is Writing.TEXT
    ):  # most texts are one segment
        result = results[only.item]
        if result.error is not None:
            return _failed(document, result.error)
        text, cache = only.plain(result.text), _cache_of(document, only, result)
        flags = (*result.flags, *document.ignored) if document.ignored else result.flags
        return Translation(text, source, result.confidence, cache, result.finish_reason, flags, target=target)
    own = [(segment, results[segment.item]) for segment in document.segments]
    for _, result in own:
        if result.error is not None:
            return _failed(document, result.error)
    text, restoring_flags = restore_parts(document.parts, _Translations(results))
    if not own:
        return Translation(text, source, 1.0, CacheStatus.BYPASS, target=target)
    statuses = {_cache_of(document, segment, result) for segment, result in own}
    reasons = [each.finish_reason for _, each in own if each.finish_reason is not FinishReason.STOP]
    return Translation(
        text,
        source,
        min(result.confidence for _, result in own),
        next(status for status in _NEWEST_FIRST if status in statuses),
        reasons[0] if reasons else FinishReason.STOP,
        tuple(
            dict.fromkeys(
                [
                    *(flag for _, result in own for flag in result.flags),
                    *restoring_flags,
                    *document.ignored,
                ]
            )
        ),
        target=target,
    )


class _Translations(Mapping[WorkItem, str]):
    """The texts of results; an item that failed has none, nor one with tags whose answer is flagged."""

    def __init__(self, results: Mapping[WorkItem, WorkResult]) -> None:
        self._results = results

    def __getitem__(self, item: WorkItem) -> str:
        result = self._results[item]
        if not _is_usable(item, result):
            raise KeyError(item)
        return result.text

    def __iter__(self) -> Iterator[WorkItem]:
        return (item for item, result in self._results.items() if _is_usable(item, result))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_usable(item: WorkItem, result: WorkResult) -> bool:
    return result.error is None and not (item.is_tagged and result.flags)


def _failed(document: Document, error: YiwenError) -> Translation:
    described = TextError(error.code, _TEXT_NUMBER.sub("", error.message))
    pair = document.pair
    return Translation("", pair.source, 0.0, CacheStatus.NONE, error=described, target=pair.target)


def _own_items(spans: Sequence[InlineSpan]) -> Iterator[WorkItem]:
    """The items whose translations are searched for first."""
    for span in spans:
        if span.alone is not None:
            yield span.alone
        if span.kind in (SpanKind.POINT, SpanKind.ORDERED) and span.without is not None:
            yield span.without
        yield from _own_items(span.children)


def _check_tags(parts: Sequence[str | int], count: int) -> None:
    """Raise InternalFault unless each of ``count`` tags is there once."""
    if sorted(part for part in parts if isinstance(part, int)) != list(range(count)):
        raise InternalFault("a tag was lost; send the text in smaller parts, and report this")


def _inner(text: str) -> str:
    start, end = inner_range(text)
    return text[start:end]


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
