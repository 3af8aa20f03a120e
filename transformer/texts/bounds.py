"""How much text one request may hold. Pure.

Splitting, markup and detection take time and memory in proportion to a request's text and to the parts that it comes
to, so both are bounded before any of that is done.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from protocol.errors import InvalidRequest
from protocol.messages import TextFormat, TranslateRequest
from transformer.errors import SegmentTooLong, TooManyBytes, TooManyParts, TooManyTexts

PARTS_PER_TEXT = 32
MIN_PARTS = 4_096
"""A request may come to ``max_texts`` times as many parts, and always to this many. A part takes some 10 us."""

_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Where :meth:`str.splitlines` splits."""
_PART_MARKS = {TextFormat.TEXT: "", TextFormat.ICU: "{'", TextFormat.MARKDOWN: "<&*_`[~|\\"}
"""What parts of a text begin with; in the other formats tags and entities."""


@dataclass(frozen=True, slots=True)
class TextBounds:
    """The bounds of one request's texts."""

    max_texts: int
    """The most texts, and the most segments."""
    max_bytes: int = sys.maxsize
    """UTF-8 bytes of all texts together."""
    max_segment_bytes: int = sys.maxsize
    """UTF-8 bytes of one segment: no longer one can be translated or cached."""
    max_context_bytes: int = sys.maxsize
    """UTF-8 bytes of the context of one text."""

    @property
    def max_parts(self) -> int:
        """The most lines, sentences, tags, entities, arguments and branches of all texts together."""
        return max(MIN_PARTS, PARTS_PER_TEXT * self.max_texts)

    def check_request(self, request: TranslateRequest) -> None:
        """Refuse a request that has too much text or too many lines, tags and entities.

        Raises:
            TooManyTexts, TooManyBytes, TooManyParts: it has.
            InvalidRequest: it has not as many languages as texts.
        """
        if len(request.texts) > self.max_texts:
            raise TooManyTexts(len(request.texts), self.max_texts)
        if not len(request.texts) == len(request.sources) == len(request.targets):
            raise InvalidRequest("texts, sources and targets must have the same length")
        characters = sum(map(len, request.texts))
        if 4 * characters > self.max_bytes:
            size = sum(map(_utf8_bytes, request.texts))
            if size > self.max_bytes:
                raise TooManyBytes(size, self.max_bytes)
        # A text has no more parts than characters.
        if characters > MIN_PARTS and characters > self.max_parts:
            marks = _LINE_ENDS + _PART_MARKS.get(request.text_format, "<&")
            self.check_parts(sum(text.count(mark) for text in request.texts for mark in marks))

    def check_parts(self, parts: int) -> None:
        """Raise TooManyParts if a request comes to so many parts that are too many."""
        if parts > MIN_PARTS and parts > self.max_parts:
            raise TooManyParts(parts, self.max_parts)

    def check_segment(self, index: int, text: str) -> None:
        """Raise SegmentTooLong if ``text``, a segment of the request's text ``index``, is too long."""
        if 4 * len(text) > self.max_segment_bytes:
            size = _utf8_bytes(text)
            if size > self.max_segment_bytes:
                raise SegmentTooLong(index, size, self.max_segment_bytes)


def _utf8_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
