"""A request's texts, made ready to be looked up and translated, and put back together afterwards. Pure.

A *segment* is one text of a request without its outer white space, with both languages settled. Equal segments are
one :class:`Job`, done once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.errors import InvalidRequest
from protocol.messages import TranslateRequest
from transformer.cache_key import cache_key, normal_text
from transformer.errors import TooManyTexts, UnusableText
from transformer.languages import Direction, Languages
from transformer.tokenizer import TextToEncode


@dataclass(frozen=True, slots=True)
class Segment:
    """One text of a request."""

    index: int
    text: str
    """As the caller sent it."""
    normal: str
    """In NFC, without outer white space: what is translated."""
    direction: Direction

    @property
    def identity(self) -> tuple[str, str, str]:
        """Equal for texts of one request that have the same translation."""
        return self.direction.source, self.direction.target, self.normal

    def restore(self, translation: str) -> str:
        """``translation`` within the white space that surrounds the text."""
        return with_outer_space_of(self.text, translation)


@dataclass(frozen=True, slots=True)
class Job:
    """One distinct translation that a request needs; ``segments`` all have its identity, in the request's order."""

    segments: tuple[Segment, ...]

    @property
    def first(self) -> Segment:
        return self.segments[0]

    def key(self, release: str, max_new_tokens: int | None) -> bytes:
        """Cache key under ``release``. A bound that cuts answers short is part of it, none is not."""
        source, target, text = self.first.identity
        options = {} if max_new_tokens is None else {"max_new_tokens": str(max_new_tokens)}
        return cache_key(release=release, source=source, target=target, options=options, text=text)

    def to_encode(self) -> TextToEncode:
        source, target, text = self.first.identity
        return TextToEncode(self.first.index, text, source, target)


def split_request(request: TranslateRequest, languages: Languages, max_texts: int) -> list[Segment]:
    """The request's segments, in order.

    Raises:
        TooManyTexts, UnusableText: the request cannot be taken as it is.
        YiwenError: a language is unknown, wrong, or cannot be detected; see :meth:`Languages.direct`.
    """
    if len(request.texts) > max_texts:
        raise TooManyTexts(len(request.texts), max_texts)
    if not len(request.texts) == len(request.sources) == len(request.targets):
        raise InvalidRequest("texts, sources and targets must have the same length")
    rows = zip(request.texts, request.sources, request.targets, strict=True)
    return [_segment(index, *row, languages) for index, row in enumerate(rows)]


def jobs_of(segments: Iterable[Segment]) -> list[Job]:
    """The distinct translations that these need, in the order of their first segments."""
    groups: dict[tuple[str, str, str], list[Segment]] = {}
    for segment in segments:
        if segment.direction.needs_model:
            groups.setdefault(segment.identity, []).append(segment)
    return [Job(tuple(group)) for group in groups.values()]


def with_outer_space_of(text: str, translation: str) -> str:
    """``translation`` with the white space that ``text`` begins and ends with."""
    inner = text.strip()
    if not inner:
        return text
    start = text.index(inner)
    return f"{text[:start]}{translation.strip()}{text[start + len(inner) :]}"


def _segment(index: int, text: str, source: str | None, target: str, languages: Languages) -> Segment:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnusableText(
            index, "it holds half of a surrogate pair; send whole Unicode characters"
        ) from None
    normal = normal_text(text)
    return Segment(index, text, normal, languages.direct(index, normal, source, target))
