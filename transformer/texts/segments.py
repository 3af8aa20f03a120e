"""Splitting the texts of a request into documents of segments: what is translated on its own. Pure.

A segment is a sentence, or the whole text where :class:`protocol.release.TranslationSpec` says so, without outer
white space; in HTML and XML of the text between two tags that a sentence ends at. Everything else of a text is kept
as it is.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from protocol.error_codes import PER_TEXT_CODES
from protocol.errors import YiwenError
from protocol.messages import MarkupOptions, OnError, TextFormat, TranslateRequest
from protocol.normal_form import normal_text
from transformer.errors import TooManySegments, UnusableMarkup, UnusableText
from transformer.texts.bounds import TextBounds
from transformer.texts.caller_placeholders import CallerPlaceholders
from transformer.texts.documents import Document, Segment, Writing
from transformer.texts.glossary import NO_GLOSSARY, GlossaryMatcher
from transformer.texts.inline_tags import partners, spans_of
from transformer.texts.languages import UNDETERMINED, LanguagePair, Languages
from transformer.texts.markup import (
    AttributePart,
    CdataPart,
    InlineKind,
    InlineTag,
    KeptPart,
    MarkupPart,
    TextRun,
    parse_markup,
)
from transformer.texts.markup_tokens import AttributeRange, MarkupError
from transformer.texts.patterns import has_words
from transformer.texts.prompt_options import PromptOptions
from transformer.texts.run_sentences import RunSentence, placed_in, sentence_in
from transformer.texts.sentences import split_sentences
from transformer.texts.terms import Term, overlapping
from transformer.texts.work_item import WorkItem

Sentence = tuple[str, bool]
"""A sentence, and whether no white space is between it and the one before."""


@dataclass(slots=True)
class _Splitter:
    """What splits all texts of one request."""

    text_format: TextFormat
    languages: Languages
    is_whole: Callable[[str], bool]
    glossaries: GlossaryMatcher
    options: tuple[tuple[str, str], ...]
    bounds: TextBounds
    markup: MarkupOptions
    placeholders: CallerPlaceholders | None
    prompt_options: PromptOptions | None
    _items: dict[WorkItem, WorkItem] = field(default_factory=dict)
    _sentences: int = 0
    """Of all texts that have been split so far."""
    _helping: int = 0
    """Items that help to place tags."""

    def document(self, index: int, text: str, source: str | None, target: str) -> Document:
        """Split one text.

        Args:
            index: of the text in the request, for messages.
            text: as the caller sent it.
            source: language tag, or None to detect the language.
            target: language tag.

        Raises:
            UnusableText: it is not valid Unicode, or not well-formed.
            UnknownLanguage, UnknownPair, UndetectedLanguage: the release does not translate it.
        """
        if not text.isascii():
            _check_unicode(index, text)
        if self.text_format is TextFormat.TEXT:
            return self._plain_document(index, text, source, target)
        found = self._markup(index, text)
        prose = normal_text("\n".join(_prose(text, part) for part in found))
        pair = self.languages.resolve_pair(index, prose, source, target)
        if not pair.needs_model:
            return Document(index, text, pair, (text,), self.text_format)
        parts = _merged(part for each in found for part in self._parts(index, text, each, pair))
        if parts == (text,):  # the whole text is in a language, but no piece of it is
            pair = LanguagePair(pair.source, pair.target, needs_model=False)
        return Document(index, text, pair, parts, self.text_format)

    def document_or_error(self, index: int, text: str, source: str | None, target: str) -> Document:
        """As :meth:`document`, but an error that concerns this text alone is put into its document.

        Args:
            index: of the text in the request, for messages.
            text: as the caller sent it.
            source: language tag, or None to detect the language.
            target: language tag.

        Raises:
            YiwenError: an error that concerns the whole request.
        """
        try:
            return self.document(index, text, source, target)
        except YiwenError as error:
            if error.code not in PER_TEXT_CODES:
                raise
            pair = LanguagePair(UNDETERMINED, target, needs_model=False)
            return Document(index, text, pair, (), self.text_format, error)

    def _plain_document(self, index: int, text: str, source: str | None, target: str) -> Document:
        """As :meth:`document`, of a text without markup: most requests, so it does nothing twice."""
        normal = normal_text(text)
        pair = self.languages.resolve_pair(index, normal, source, target)
        if not pair.needs_model:
            return Document(index, text, pair, (text,))
        sentences = self._sentences_of(text, normal, pair)
        if len(sentences) <= 1:  # it has letters, since it needs the model
            return Document(index, text, pair, (Segment(text, text, self._item(index, normal, pair)),))
        parts = tuple(self._segment(index, sentence, pair) for sentence in _joined(sentences))
        return Document(index, text, pair, parts)

    def _markup(self, index: int, text: str) -> list[MarkupPart]:
        try:
            return parse_markup(text, self.text_format, self.markup)
        except MarkupError as error:
            form = self.text_format.value
            raise UnusableMarkup(
                index, f"it is not well-formed {form}: {error}; mend it, or send it as format=text"
            ) from None

    def _parts(
        self, index: int, source: str, part: MarkupPart, pair: LanguagePair
    ) -> Iterator[str | Segment]:
        """What becomes of a part of a text with markup.

        Args:
            index: of the text.
            source: the text.
            part: of it.
            pair: of languages.
        """
        match part:
            case KeptPart():
                yield source[part.start : part.end]
            case AttributePart():
                yield self._value(index, source, part.value, pair)
            case CdataPart():
                text = source[part.start : part.end]
                sentences = self._sentences_of(text, normal_text(text), pair) or [text]
                for sentence in _joined(sentences):
                    yield self._segment(index, sentence, pair, Writing.CDATA)
            case _:
                yield from self._run_parts(index, source, part, pair)

    def _value(self, index: int, source: str, value: AttributeRange, pair: LanguagePair) -> str | Segment:
        """The value of an attribute, as one segment."""
        raw = source[value.start : value.end]
        text = html.unescape(raw)
        normal = normal_text(text)
        if not has_words(normal):
            return raw
        writing = Writing.QUOTED if value.quote else Writing.UNQUOTED
        return Segment(text, raw, self._item(index, normal, pair), writing)

    def _run_parts(
        self, index: int, source: str, run: TextRun, pair: LanguagePair
    ) -> Iterator[str | Segment]:
        """The sentences of a run with the tags within them, and what is between them."""
        pairs = partners(run.tags)
        at = run.start
        tag = 0
        end = -1
        for low, high in self._ranges_of(run, pair):
            sentence = sentence_in(run, pairs, low, high, tag)
            if sentence is None:
                continue
            yield from self._kept(
                index, source, run.tags[tag : sentence.first_tag], (at, sentence.start), pair
            )
            yield from sentence.space_before(source)
            yield self._tagged(index, source, run, sentence, pairs, pair, adjoins=end == sentence.low)
            yield from sentence.space_behind(source)
            at, tag, end = sentence.end, sentence.last_tag, sentence.high
        yield from self._kept(index, source, run.tags[tag:], (at, run.end), pair)

    def _ranges_of(self, run: TextRun, pair: LanguagePair) -> Iterator[tuple[int, int]]:
        """The ranges of a run's sentences; none ends inside of what is kept."""
        sentences = self._sentences_of(run.text, normal_text(run.text), pair) or [run.text]
        kept = [(each.offset, each.text_end) for each in run.tags if each.kind is InlineKind.KEPT]
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

    def _tagged(
        self,
        index: int,
        source: str,
        run: TextRun,
        sentence: RunSentence,
        pairs: Mapping[int, int],
        pair: LanguagePair,
        *,
        adjoins: bool,
    ) -> Segment:
        """The segment of a sentence of a run.

        Args:
            index: of the text.
            source: the text.
            run: that the sentence is in.
            sentence: its range and its tags.
            pairs: the partners of the run's tags.
            pair: of languages.
            adjoins: as of :class:`transformer.texts.documents.Segment`.
        """
        text = run.text[sentence.low : sentence.high]
        normal = normal_text(text)
        raw = source[sentence.start : sentence.end]
        tags = placed_in(normal, text, sentence)
        kept = tuple(
            Term(tag.offset, tag.text_end, normal[tag.offset : tag.text_end], None)
            for tag in tags
            if tag.kind is InlineKind.KEPT
        )
        item = self._item(index, normal, pair, kept)
        if not tags:
            return Segment(text, raw, item, Writing.MARKUP, adjoins)
        numbers = range(sentence.first_tag, sentence.last_tag)
        inner = {
            number - numbers[0]: pairs[number] - numbers[0]
            for number in numbers
            if number in pairs and pairs[number] in numbers
        }

        def make(words: str) -> WorkItem | None:
            return self._helping_item(index, words, pair)

        spans = spans_of(normal, tags, inner, make)
        written = tuple(_merged(self._kept(index, source, [tag], (tag.start, tag.end), pair)) for tag in tags)
        return Segment(text, raw, item, Writing.MARKUP, adjoins, written, spans)

    def _kept(
        self,
        index: int,
        source: str,
        tags: Sequence[InlineTag],
        within: tuple[int, int],
        pair: LanguagePair,
    ) -> Iterator[str | Segment]:
        """A range of the source that is kept, but for the attributes of the tags in it.

        Args:
            index: of the text.
            source: the text.
            tags: in the range.
            within: start and end of the range.
            pair: of languages.
        """
        at, end = within
        for tag in tags:
            for value in tag.attributes:
                yield source[at : value.start]
                yield self._value(index, source, value, pair)
                at = value.end
        yield source[at:end]

    def _helping_item(self, index: int, text: str, pair: LanguagePair) -> WorkItem | None:
        """An item whose translation helps to place tags; None if there are too many, or without words."""
        normal = normal_text(text)
        if self._helping >= self.bounds.max_texts or not has_words(normal):
            return None
        self._helping += 1
        return self._item(index, normal, pair)

    def _sentences_of(self, text: str, normal: str, pair: LanguagePair) -> list[str]:
        """The sentences of ``text``; empty if it is translated as one."""
        if self.is_whole(normal):
            return []
        sentences = split_sentences(text, pair.source)
        self._sentences += len(sentences)
        self.bounds.check_parts(self._sentences)
        return sentences

    def _segment(
        self, index: int, sentence: Sentence, pair: LanguagePair, writing: Writing = Writing.TEXT
    ) -> str | Segment:
        """The segment of a sentence; the sentence itself if it holds no words.

        Args:
            index: of the text.
            sentence: a sentence, and whether it adjoins the one before.
            pair: of languages.
            writing: how its translation is written.
        """
        text, adjoins = sentence
        normal = normal_text(text)
        if not has_words(normal):
            return text
        return Segment(text, text, self._item(index, normal, pair), writing, adjoins)

    def _item(self, index: int, normal: str, pair: LanguagePair, kept: Sequence[Term] = ()) -> WorkItem:
        """The request's one item of this text and pair; ``kept`` must survive in its translation."""
        self.bounds.check_segment(index, normal)
        terms = self.glossaries.terms(normal, pair.source, pair.target)
        if own := self.placeholders.terms(normal) if self.placeholders else ():
            kept = [*kept, *(term for term in own if not overlapping(kept, term.start, term.end))]
            kept.sort(key=lambda term: term.start)
        if kept:
            others = [term for term in terms if not overlapping(kept, term.start, term.end)]
            terms = tuple(sorted([*kept, *others], key=lambda term: term.start))
        if self.prompt_options is None:
            item = WorkItem(normal, pair.source, pair.target, terms, self.options, index=index)
        else:
            tags = (pair.source, pair.target)
            context = self.prompt_options.context_of(index, tags)
            formality = self.prompt_options.formality_of(tags)
            item = WorkItem(normal, *tags, terms, self.options, context, formality, index)
        return self._items.setdefault(item, item)


def split_request(
    request: TranslateRequest,
    languages: Languages,
    bounds: TextBounds,
    is_whole: Callable[[str], bool] = lambda _: False,
    glossaries: GlossaryMatcher = NO_GLOSSARY,
) -> list[Document]:
    """The request's texts, in order.

    Args:
        request: as the caller sent it.
        languages: the release's.
        bounds: how much text one request may hold.
        is_whole: whether a text is translated as one; others are split into sentences.
        glossaries: the release's; the request's own glossary precedes them.

    Raises:
        InvalidRequest: the request's glossary contradicts itself, or one of its placeholders is no expression.
        TooLong: the request holds more than ``bounds`` says.
        UnusableText: a text is not valid Unicode, or not the markup that it is declared to be.
        YiwenError: a language is unknown, wrong, or cannot be detected; see :meth:`Languages.resolve_pair`.
    """
    bounds.check_request(request)
    options = PromptOptions.of(request, languages.sections, bounds.max_context_bytes)
    rows = zip(request.texts, request.sources, request.targets, strict=True)
    splitter = _Splitter(
        request.text_format,
        languages,
        is_whole,
        glossaries.with_request(request.glossary),
        _options_of(request),
        bounds,
        request.markup,
        CallerPlaceholders(request.placeholders) if request.placeholders else None,
        options,
    )
    split = splitter.document if request.on_error is OnError.FAIL else splitter.document_or_error
    documents = [split(index, *row) for index, row in enumerate(rows)]
    segments = sum(1 for document in documents for _ in document.segments)
    if segments > bounds.max_texts:
        raise TooManySegments(segments, bounds.max_texts)
    return documents if options is None else [_with_ignored(document, options) for document in documents]


def _with_ignored(document: Document, options: PromptOptions) -> Document:
    """``document`` with what the caller wants for it and the release has no place for."""
    pair = document.pair
    if not pair.needs_model:
        return document
    ignored = options.ignored(document.index, (pair.source, pair.target))
    return replace(document, ignored=ignored) if ignored else document


def _options_of(request: TranslateRequest) -> tuple[tuple[str, str], ...]:
    """The options of a request that its translations depend on.

    A limit that cuts answers short is one. The text format is none: a segment has the same translation in all
    formats.
    """
    return () if request.max_new_tokens is None else (("max_new_tokens", str(request.max_new_tokens)),)


def _check_unicode(index: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnusableText(
            index, "it holds half of a surrogate pair; send whole Unicode characters"
        ) from None


def _prose(source: str, part: MarkupPart) -> str:
    """The text of a part that its language is detected from."""
    match part:
        case KeptPart():
            return ""
        case AttributePart():
            return html.unescape(source[part.value.start : part.value.end])
        case CdataPart():
            return source[part.start : part.end]
        case _:
            return part.prose


def _joined(sentences: Iterable[str]) -> Iterator[Sentence]:
    """Sentences, each with whether no white space is between it and the one before."""
    adjoins = False
    for sentence in sentences:
        yield sentence, adjoins and not sentence[:1].isspace()
        adjoins = not sentence[-1:].isspace()


def _merged(parts: Iterable[str | Segment]) -> tuple[str | Segment, ...]:
    """``parts`` without empty ones, and with neighbouring strings as one."""
    merged: list[str | Segment] = []
    kept: list[str] = []
    for part in parts:
        if isinstance(part, str):
            kept.append(part)
            continue
        if text := "".join(kept):
            merged.append(text)
        kept = []
        merged.append(part)
    if text := "".join(kept):
        merged.append(text)
    return tuple(merged)
