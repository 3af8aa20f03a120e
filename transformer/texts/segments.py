"""A request's texts, made ready to be looked up and translated, and put back together afterwards. Pure.

A :class:`Document` is one text of a request, with its language settled. Its *segments* are what is translated on its
own: each sentence, or the whole text where :class:`protocol.release.TranslationSpec` says so, without outer white
space; of HTML and XML, those between the tags. All else is kept. Equal segments are one :class:`Job`, done once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from protocol.errors import InvalidRequest
from protocol.messages import TextFormat, TranslateRequest
from transformer.cache.cache_key import cache_key, normal_text
from transformer.errors import TooManySegments, TooManyTexts, UnusableText
from transformer.texts.glossary import NO_GLOSSARY, GlossaryMatcher, terms_digest
from transformer.texts.languages import LanguagePair, Languages
from transformer.texts.markup import MarkupError, MarkupPiece, escape_text, parse_markup
from transformer.texts.placeholders import without_placeholders
from transformer.texts.scripts import has_letters
from transformer.texts.sentences import split_sentences
from transformer.texts.terms import Term
from transformer.tokens.tokenizer import TextToEncode

_WORD_END = re.compile(r"[.!?][\"')\]]*\Z")
_WORD_START = re.compile(r"[\"'(\[]*[A-Za-z0-9\u00c0-\u024f\u0370-\u052f]")

Identity = tuple[str, str, str]
"""Source tag, target tag and normal text: equal for segments of one request that have the same translation."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a text that is translated on its own."""

    index: int
    """Of its text in the request."""
    text: str
    """As the caller means it, with entities resolved."""
    normal: str
    """In NFC, without outer white space: what is translated."""
    direction: LanguagePair
    raw: str
    """As it stands in the caller's text."""
    terms: tuple[Term, ...] = ()
    """What a glossary's entries concern in ``normal``."""

    @property
    def identity(self) -> Identity:
        return self.direction.source, self.direction.target, self.normal

    def restore(self, translation: str) -> str:
        """``translation`` within the white space that surrounds the segment."""
        return with_outer_space_of(self.text, translation)


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a request."""

    index: int
    text: str
    """As the caller sent it."""
    direction: LanguagePair
    parts: tuple[str | Segment, ...]
    """What is kept and what is translated, in order."""
    text_format: TextFormat = TextFormat.TEXT

    @property
    def segments(self) -> Iterator[Segment]:
        return (part for part in self.parts if isinstance(part, Segment))

    @property
    def only(self) -> Segment | None:
        """The segment that the whole text is, if it is one."""
        part = self.parts[0] if len(self.parts) == 1 else None
        return part if isinstance(part, Segment) else None

    def restore(self, translations: Mapping[Identity, str]) -> str:
        """The text with each segment's translation in its place. A segment that did not change keeps its bytes.

        Between sentences stands the white space that was there; where Chinese had none, a full stop gets a space.
        """
        parts: list[str] = []
        for part, before in zip(self.parts, (None, *self.parts), strict=False):
            put = part if isinstance(part, str) else self.restore_segment(part, translations[part.identity])
            adjoin = isinstance(part, Segment) and isinstance(before, Segment)
            if adjoin and _WORD_END.search(parts[-1]) and _WORD_START.match(put):
                parts.append(" ")
            parts.append(put)
        return "".join(parts)

    def restore_segment(self, segment: Segment, translation: str) -> str:
        """``translation`` as it stands in the place of ``segment``."""
        if self.text_format is TextFormat.TEXT:
            return segment.restore(translation)
        return segment.raw if translation == segment.normal else escape_text(segment.restore(translation))


@dataclass(frozen=True, slots=True)
class _Rules:
    """What all texts of a request are taken apart by."""

    text_format: TextFormat
    languages: Languages
    whole: Callable[[str], bool]
    glossaries: GlossaryMatcher


@dataclass(frozen=True, slots=True)
class Job:
    """One distinct translation that a request needs; ``segments`` all have its identity, in the request's order."""

    segments: tuple[Segment, ...]

    @property
    def first(self) -> Segment:
        return self.segments[0]

    def key(self, release: str, options: Mapping[str, str]) -> bytes:
        """Cache key under ``release``.

        Args:
            release: id of the release that answers.
            options: the request's, as :func:`transformer.request_context.options_of` returns them. What the glossary
                has for the segment comes to them; one that does not concern it leaves the key as it is.
        """
        source, target, text = self.first.identity
        if self.first.terms:
            options = {**options, "glossary": terms_digest(self.first.terms)}
        return cache_key(release=release, source=source, target=target, options=options, text=text)

    def to_encode(self, text: str | None = None) -> TextToEncode:
        """What the tokenizer makes a prompt of: the segment's own text, or ``text`` in its stead."""
        source, target, normal = self.first.identity
        return TextToEncode(self.first.index, normal if text is None else text, source, target)


def split_request(
    request: TranslateRequest,
    languages: Languages,
    max_texts: int,
    whole: Callable[[str], bool] = lambda _: False,
    glossaries: GlossaryMatcher = NO_GLOSSARY,
) -> list[Document]:
    """The request's texts, in order.

    Args:
        request: as the caller sent it.
        languages: the release's.
        max_texts: the most texts, and the most segments, that one request may hold.
        whole: whether a text is to be translated as one; others are split into sentences.
        glossaries: the release's; the request's own goes before them.

    Raises:
        InvalidRequest: the request's glossary contradicts itself.
        TooManyTexts, TooManySegments, UnusableText: the request cannot be taken as it is.
        YiwenError: a language is unknown, wrong, or cannot be detected; see :meth:`Languages.resolve_pair`.
    """
    if len(request.texts) > max_texts:
        raise TooManyTexts(len(request.texts), max_texts)
    if not len(request.texts) == len(request.sources) == len(request.targets):
        raise InvalidRequest("texts, sources and targets must have the same length")
    rows = zip(request.texts, request.sources, request.targets, strict=True)
    rules = _Rules(request.text_format, languages, whole, glossaries.with_request(request.glossary))
    documents = [_document(index, *row, rules) for index, row in enumerate(rows)]
    segments = sum(1 for document in documents for part in document.parts if isinstance(part, Segment))
    if segments > max_texts:
        raise TooManySegments(segments, max_texts)
    return documents


def jobs_of(documents: Iterable[Document]) -> list[Job]:
    """The distinct translations that these need, in the order of their first segments."""
    groups: dict[Identity, list[Segment]] = {}
    for document in documents:
        for segment in document.segments:
            groups.setdefault(segment.identity, []).append(segment)
    return [Job(tuple(group)) for group in groups.values()]


def with_outer_space_of(text: str, translation: str) -> str:
    """``translation`` with the white space that ``text`` begins and ends with."""
    inner = text.strip()
    if not inner:
        return text
    if inner == text:
        return translation.strip()
    start = text.index(inner)
    return f"{text[:start]}{translation.strip()}{text[start + len(inner) :]}"


def _document(index: int, text: str, source: str | None, target: str, rules: _Rules) -> Document:
    _check_unicode(index, text)
    if rules.text_format is TextFormat.TEXT:
        return _plain_document(index, text, source, target, rules)
    pieces = _pieces(index, text, rules.text_format)
    prose = normal_text("\n".join(piece.text for piece in pieces if piece.text is not None))
    direction = rules.languages.resolve_pair(index, without_placeholders(prose), source, target)
    if not direction.needs_model:
        return Document(index, text, direction, (text,), rules.text_format)
    parts = tuple(part for piece in pieces for part in _parts(index, piece, direction, rules))
    if parts == (text,):  # a text that is in a language, and yet holds no piece that is
        direction = LanguagePair(direction.source, direction.target, needs_model=False)
    return Document(index, text, direction, parts, rules.text_format)


def _plain_document(index: int, text: str, source: str | None, target: str, rules: _Rules) -> Document:
    """As :func:`_document`, of a text without markup; what most requests bring, so nothing is done twice."""
    normal = normal_text(text)
    direction = rules.languages.resolve_pair(index, without_placeholders(normal), source, target)
    if not direction.needs_model:
        return Document(index, text, direction, (text,))
    sentences = [] if rules.whole(normal) else split_sentences(text, direction.source)
    if len(sentences) <= 1:  # and it has letters, or it would need no model
        terms = rules.glossaries.terms(normal, direction.source, direction.target)
        return Document(index, text, direction, (Segment(index, text, normal, direction, text, terms),))
    parts = tuple(
        _segment(index, MarkupPiece(sentence, sentence), normal_text(sentence), direction, rules)
        for sentence in sentences
    )
    return Document(index, text, direction, parts)


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
        raise UnusableText(
            index, f"it is not well-formed {text_format.value}: {error}; mend it, or send it as format=text"
        ) from None


def _parts(index: int, piece: MarkupPiece, direction: LanguagePair, rules: _Rules) -> Iterator[str | Segment]:
    if piece.text is None:
        yield piece.raw
        return
    normal = normal_text(piece.text)
    sentences = [] if rules.whole(normal) else split_sentences(piece.text, direction.source)
    if len(sentences) <= 1:
        yield _segment(index, piece, normal, direction, rules)
        return
    for sentence in sentences:
        raw = sentence if piece.raw == piece.text else escape_text(sentence)
        yield _segment(index, MarkupPiece(raw, sentence), normal_text(sentence), direction, rules)


def _segment(
    index: int, piece: MarkupPiece, normal: str, direction: LanguagePair, rules: _Rules
) -> str | Segment:
    """What is translated of a piece; the piece itself if it holds no words."""
    if piece.text is None or not has_letters(without_placeholders(normal)):
        return piece.raw
    terms = rules.glossaries.terms(normal, direction.source, direction.target)
    return Segment(index, piece.text, normal, direction, piece.raw, terms)
