"""Splitting the texts of a request into documents of segments: what is translated on its own. Pure.

A segment is a sentence, or the whole text where :class:`protocol.translation_spec.TranslationSpec` says so, without
outer white space; in HTML and XML of the text between two tags that a sentence ends at, in ICU messages of a branch.
Everything else of a text is kept as it is.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from protocol.error_codes import PER_TEXT_CODES
from protocol.errors import YiwenError
from protocol.messages import MarkupOptions, OnError, TextFormat, TranslateRequest
from protocol.normal_form import normal_text
from transformer.errors import TooManySegments, UnusableMarkup, UnusableText
from transformer.texts.bounds import TextBounds
from transformer.texts.caller_placeholders import CallerPlaceholders
from transformer.texts.documents import Document, Segment
from transformer.texts.glossary import NO_GLOSSARY, GlossaryMatcher
from transformer.texts.icu_segments import IcuSegments, literal_texts
from transformer.texts.icu_syntax import IcuMessage, parse_icu
from transformer.texts.languages import UNDETERMINED, LanguagePair, Languages
from transformer.texts.markdown import parse_markdown
from transformer.texts.markup import AttributePart, CdataPart, KeptPart, MarkupPart, parse_markup
from transformer.texts.markup_segments import MarkupSegments
from transformer.texts.markup_tokens import MarkupError
from transformer.texts.paragraphs import joined_paragraphs
from transformer.texts.prompt_options import PromptOptions
from transformer.texts.segment_factory import SegmentFactory, joined, merged


@dataclass(slots=True)
class _Splitter:
    """What splits all texts of one request."""

    text_format: TextFormat
    languages: Languages
    markup: MarkupOptions
    join_lines: bool
    factory: SegmentFactory

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
        found = self._parsed(index, text)
        prose = normal_text(_prose_of(text, found))
        pair = self.languages.resolve_pair(index, prose, source, target)
        if not pair.needs_model:
            return Document(index, text, pair, (text,), self.text_format)
        if isinstance(found, IcuMessage):
            parts = IcuSegments(self.factory, index, text, pair).of_message(found)
        else:
            parts = MarkupSegments(self.factory, index, text, pair).of_parts(found)
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
        if self.join_lines:
            parts = merged(
                each for part in joined_paragraphs(text) for each in self._of_paragraph(index, part, pair)
            )
            return Document(index, text, pair, parts)
        sentences = self.factory.sentences_of(text, normal, pair)
        if len(sentences) <= 1:  # it has letters, since it needs the model
            return Document(index, text, pair, (Segment(text, text, self.factory.item(index, normal, pair)),))
        parts = tuple(self.factory.segment(index, sentence, pair) for sentence in joined(sentences))
        return Document(index, text, pair, parts)

    def _of_paragraph(
        self, index: int, part: tuple[str, bool], pair: LanguagePair
    ) -> Iterator[str | Segment]:
        """What becomes of a part of a text whose lines are joined.

        Args:
            index: of the text.
            part: as :func:`transformer.texts.paragraphs.joined_paragraphs` yields it.
            pair: of languages.
        """
        text, is_paragraph = part
        if not is_paragraph:
            yield text
            return
        for sentence in joined(self.factory.sentences_of(text, normal_text(text), pair) or [text]):
            yield self.factory.segment(index, sentence, pair)

    def _parsed(self, index: int, text: str) -> list[MarkupPart] | IcuMessage:
        try:
            if self.text_format is TextFormat.ICU:
                return parse_icu(text)
            if self.text_format is TextFormat.MARKDOWN:
                return parse_markdown(text)
            return parse_markup(text, self.text_format, self.markup)
        except MarkupError as error:
            form = self.text_format.value
            raise UnusableMarkup(
                index, f"it is not well-formed {form}: {error}; mend it, or send it as format=text"
            ) from None


def split_request(
    request: TranslateRequest,
    languages: Languages,
    bounds: TextBounds,
    is_whole: Callable[[str], bool] = lambda _: False,
    glossaries: GlossaryMatcher = NO_GLOSSARY,
    fits: Callable[[str], bool] = lambda _: True,
) -> list[Document]:
    """The request's texts, in order.

    Args:
        request: as the caller sent it.
        languages: the release's.
        bounds: how much text one request may hold.
        is_whole: whether a text is translated as one; others are split into sentences.
        glossaries: the release's; the request's own glossary precedes them.
        fits: whether the release takes a text as one.

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
        request.markup,
        request.join_lines,
        SegmentFactory(
            is_whole,
            glossaries.with_request(request.glossary),
            _options_of(request),
            bounds,
            CallerPlaceholders(request.placeholders) if request.placeholders else None,
            options,
            languages.tag_forms,
            fits,
        ),
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


def _prose_of(source: str, found: Sequence[MarkupPart] | IcuMessage) -> str:
    """The text that a language is detected from."""
    if isinstance(found, IcuMessage):
        return "".join(literal_texts(found))
    return "\n".join(_prose(source, part) for part in found)


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
