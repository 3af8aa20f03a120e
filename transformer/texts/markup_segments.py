"""Makes segments of the parts of one text with markup: what is kept, attributes, and sentences with tags. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from protocol.normal_form import normal_text
from transformer.texts.documents import Segment, TaggedItem, Writing
from transformer.texts.inline_tags import InlineSpan, partners, spans_of
from transformer.texts.languages import LanguagePair
from transformer.texts.markup import (
    AttributePart,
    CdataPart,
    InlineKind,
    InlineTag,
    KeptPart,
    MarkupPart,
    TextRun,
)
from transformer.texts.markup_tokens import AttributeRange
from transformer.texts.patterns import has_words
from transformer.texts.run_sentences import RunSentence, placed_in, sentence_in
from transformer.texts.segment_factory import SegmentFactory, joined, merged
from transformer.texts.tag_form import tagged_text
from transformer.texts.terms import Term
from transformer.texts.work_item import WorkItem

Parts = tuple[str | Segment, ...]


@dataclass(frozen=True, slots=True)
class MarkupSegments:
    """Makes the segments of one text."""

    factory: SegmentFactory
    index: int
    """Of the text in its request."""
    source: str
    """The text."""
    pair: LanguagePair

    def of_parts(self, parts: Sequence[MarkupPart]) -> tuple[str | Segment, ...]:
        """What is kept and what is translated, in order."""
        return merged(part for each in parts for part in self._parts(each))

    def _parts(self, part: MarkupPart) -> Iterator[str | Segment]:
        """What becomes of a part of the text."""
        match part:
            case KeptPart():
                yield self.source[part.start : part.end]
            case AttributePart():
                yield self._value(part.value)
            case CdataPart():
                text = self.source[part.start : part.end]
                sentences = self.factory.sentences_of(text, normal_text(text), self.pair) or [text]
                for sentence in joined(sentences):
                    yield self.factory.segment(self.index, sentence, self.pair, Writing.CDATA)
            case _:
                yield from self._run_parts(part)

    def _value(self, value: AttributeRange) -> str | Segment:
        """The value of an attribute, as one segment."""
        raw = self.source[value.start : value.end]
        text = html.unescape(raw)
        normal = normal_text(text)
        if not has_words(normal):
            return raw
        writing = Writing.QUOTED if value.quote else Writing.UNQUOTED
        return Segment(text, raw, self.factory.item(self.index, normal, self.pair), writing)

    def _run_parts(self, run: TextRun) -> Iterator[str | Segment]:
        """The sentences of a run with the tags within them, and what is between them."""
        pairs = partners(run.tags)
        at = run.start
        tag = 0
        end = -1
        for low, high in self._ranges_of(run):
            sentence = sentence_in(run, pairs, low, high, tag)
            if sentence is None:
                continue
            yield from self._kept(run.tags[tag : sentence.first_tag], at, sentence.start)
            yield from sentence.space_before(self.source)
            yield self._tagged(run, sentence, pairs, adjoins=end == sentence.low)
            yield from sentence.space_behind(self.source)
            at, tag, end = sentence.end, sentence.last_tag, sentence.high
        yield from self._kept(run.tags[tag:], at, run.end)

    def _ranges_of(self, run: TextRun) -> Iterator[tuple[int, int]]:
        """The ranges of a run's sentences; none ends inside of what is kept."""
        sentences = self.factory.sentences_of(run.text, normal_text(run.text), self.pair) or [run.text]
        kept = [(each.offset, each.text_end) for each in run.tags if each.kind is InlineKind.KEPT]
        yield from whole_ranges(sentences, kept)

    def _tagged(
        self, run: TextRun, sentence: RunSentence, pairs: Mapping[int, int], *, adjoins: bool
    ) -> Segment:
        """The segment of a sentence of a run.

        Args:
            run: that the sentence is in.
            sentence: its range and its tags.
            pairs: the partners of the run's tags.
            adjoins: as of :class:`transformer.texts.documents.Segment`.
        """
        text = run.text[sentence.low : sentence.high]
        normal = normal_text(text)
        raw = self.source[sentence.start : sentence.end]
        tags = placed_in(normal, text, sentence)
        kept = tuple(
            Term(tag.offset, tag.text_end, normal[tag.offset : tag.text_end], None)
            for tag in tags
            if tag.kind is InlineKind.KEPT
        )
        item = self.factory.item(self.index, normal, self.pair, kept)
        writing = (run.first_writing if sentence.start == run.start else run.writing) or Writing.MARKUP
        if not tags:
            return Segment(text, raw, item, writing, adjoins)
        numbers = range(sentence.first_tag, sentence.last_tag)
        inner = {
            number - numbers[0]: pairs[number] - numbers[0]
            for number in numbers
            if number in pairs and pairs[number] in numbers
        }
        spans = spans_of(normal, tags, inner, self._helping_item)
        written = tuple(merged(self._kept([tag], tag.start, tag.end)) for tag in tags)
        tagged = self._tagged_item(normal, spans, written)
        return Segment(text, raw, item, writing, adjoins, written, spans, tagged=tagged)

    def _tagged_item(
        self, normal: str, spans: Sequence[InlineSpan], written: Sequence[Parts]
    ) -> TaggedItem | None:
        """The sentence with its tags in the form of the release; None without one that it can be written in.

        Args:
            normal: text of the sentence, in normal form.
            spans: what its tags enclose.
            written: what its tags are written as.
        """
        form = self.factory.tag_forms.get((self.pair.source, self.pair.target))
        text = None if form is None else tagged_text(normal, spans, written, form)
        if form is None or text is None:
            return None
        item = self.factory.helping_item(self.index, text, self.pair, is_tagged=True)
        return None if item is None else TaggedItem(item, form)

    def _helping_item(self, words: str) -> WorkItem | None:
        return self.factory.helping_item(self.index, words, self.pair)

    def _kept(self, tags: Sequence[InlineTag], start: int, end: int) -> Iterator[str | Segment]:
        """A range of the source that is kept, but for the attributes of the tags in it.

        Args:
            tags: in the range.
            start: of the range.
            end: of the range.
        """
        for tag in tags:
            for value in tag.attributes:
                yield self.source[start : value.start]
                yield self._value(value)
                start = value.end
        yield self.source[start:end]


def whole_ranges(sentences: Sequence[str], kept: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The ranges of sentences in the text that they are of, joined where one would end inside of what is kept.

    Args:
        sentences: of a text; joined, they are the text.
        kept: ranges of the text, in order.
    """
    low = high = place = 0
    for sentence in sentences:
        high += len(sentence)
        while place < len(kept) and kept[place][1] <= high:
            place += 1
        if place == len(kept) or kept[place][0] >= high:
            yield low, high
            low = high
    if low < high:
        yield low, high
