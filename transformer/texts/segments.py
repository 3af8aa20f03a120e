"""Splitting the texts of a request into documents of segments: what is translated on its own. Pure.

A segment is a sentence, or the whole text where :class:`protocol.release.TranslationSpec` says so, without outer
white space; in HTML and XML it is text between tags. Everything else of a text is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from protocol.error_codes import PER_TEXT_CODES
from protocol.errors import YiwenError
from protocol.messages import OnError, TextFormat, TranslateRequest
from protocol.normal_form import normal_text
from transformer.errors import TooManySegments, UnusableMarkup, UnusableText
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import Document, Segment
from transformer.texts.glossary import NO_GLOSSARY, GlossaryMatcher
from transformer.texts.languages import UNDETERMINED, LanguagePair, Languages
from transformer.texts.markup import MarkupError, MarkupPiece, escape_text, parse_markup
from transformer.texts.placeholders import detection_sample
from transformer.texts.scripts import has_letters
from transformer.texts.sentences import split_sentences
from transformer.texts.work_item import WorkItem


@dataclass(slots=True)
class _Splitter:
    """What splits all texts of one request."""

    text_format: TextFormat
    languages: Languages
    is_whole: Callable[[str], bool]
    glossaries: GlossaryMatcher
    options: tuple[tuple[str, str], ...]
    bounds: TextBounds
    _items: dict[WorkItem, WorkItem] = field(default_factory=dict)
    _sentences: int = 0
    """Of all texts that have been split so far."""

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
        pieces = _pieces(index, text, self.text_format)
        prose = normal_text("\n".join(piece.text for piece in pieces if piece.text is not None))
        pair = self.languages.resolve_pair(index, detection_sample(prose), source, target)
        if not pair.needs_model:
            return Document(index, text, pair, (text,), self.text_format)
        parts = tuple(part for piece in pieces for part in self._parts(index, piece, pair))
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
        pair = self.languages.resolve_pair(index, detection_sample(normal), source, target)
        if not pair.needs_model:
            return Document(index, text, pair, (text,))
        sentences = self._sentences_of(text, normal, pair)
        if len(sentences) <= 1:  # it has letters, since it needs the model
            return Document(index, text, pair, (Segment(text, text, self._item(index, normal, pair)),))
        pieces = (MarkupPiece(sentence, sentence) for sentence in sentences)
        parts = tuple(self._segment(index, piece, normal_text(piece.raw), pair) for piece in pieces)
        return Document(index, text, pair, parts)

    def _parts(self, index: int, piece: MarkupPiece, pair: LanguagePair) -> Iterator[str | Segment]:
        if piece.text is None:
            yield piece.raw
            return
        normal = normal_text(piece.text)
        sentences = self._sentences_of(piece.text, normal, pair)
        if len(sentences) <= 1:
            yield self._segment(index, piece, normal, pair)
            return
        for sentence in sentences:
            raw = sentence if piece.raw == piece.text else escape_text(sentence)
            yield self._segment(index, MarkupPiece(raw, sentence), normal_text(sentence), pair)

    def _sentences_of(self, text: str, normal: str, pair: LanguagePair) -> list[str]:
        """The sentences of ``text``; empty if it is translated as one."""
        if self.is_whole(normal):
            return []
        sentences = split_sentences(text, pair.source)
        self._sentences += len(sentences)
        self.bounds.check_parts(self._sentences)
        return sentences

    def _segment(self, index: int, piece: MarkupPiece, normal: str, pair: LanguagePair) -> str | Segment:
        """The segment that a piece is; the piece itself if it holds no words."""
        if piece.text is None or not has_letters(detection_sample(normal)):
            return piece.raw
        return Segment(piece.text, piece.raw, self._item(index, normal, pair))

    def _item(self, index: int, normal: str, pair: LanguagePair) -> WorkItem:
        """The request's one item of this text and pair."""
        self.bounds.check_segment(index, normal)
        terms = self.glossaries.terms(normal, pair.source, pair.target)
        item = WorkItem(normal, pair.source, pair.target, terms, self.options, index)
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
        InvalidRequest: the request's glossary contradicts itself.
        TooLong: the request holds more than ``bounds`` says.
        UnusableText: a text is not valid Unicode, or not the markup that it is declared to be.
        YiwenError: a language is unknown, wrong, or cannot be detected; see :meth:`Languages.resolve_pair`.
    """
    bounds.check_request(request)
    rows = zip(request.texts, request.sources, request.targets, strict=True)
    splitter = _Splitter(
        request.text_format,
        languages,
        is_whole,
        glossaries.with_request(request.glossary),
        _options_of(request),
        bounds,
    )
    split = splitter.document if request.on_error is OnError.FAIL else splitter.document_or_error
    documents = [split(index, *row) for index, row in enumerate(rows)]
    segments = sum(1 for document in documents for part in document.parts if isinstance(part, Segment))
    if segments > bounds.max_texts:
        raise TooManySegments(segments, bounds.max_texts)
    return documents


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


def _pieces(index: int, text: str, text_format: TextFormat) -> list[MarkupPiece]:
    try:
        return parse_markup(text, text_format)
    except MarkupError as error:
        raise UnusableMarkup(
            index, f"it is not well-formed {text_format.value}: {error}; mend it, or send it as format=text"
        ) from None
