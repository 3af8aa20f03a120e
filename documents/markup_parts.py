"""A document of markup in parts that are translated one by one, so that a large one fits into requests.

The parts, joined, are the document; the service keeps their markup. A document is cut only where no
element is open that is marked as not to be translated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from documents.encoding import TextEncoding
from documents.interface import TextUnit, UnitTranslation
from protocol.messages import TextFormat

MOST_CHARACTERS = 12_000
MOST_TAGS = 700
"""Tags of a part: a service takes 1,024 sentences in a request unless it is set otherwise."""
UNTRANSLATED_ATTRIBUTES = ("translate", "its:translate", "translatable", "class")
"""Attributes that may mark an element as not to be translated, or as to be."""


class MarkupPart(NamedTuple):
    """A part of a document."""

    raw: str
    is_translated: bool = True
    """False: tags that parts stand between."""


class MarkupParts:
    """A document of parts."""

    def __init__(self, parts: Sequence[MarkupPart], text_format: TextFormat, encoding: TextEncoding) -> None:
        """Make units of parts.

        Args:
            parts: of the document, in order.
            text_format: of the document.
            encoding: of the file.
        """
        self._parts, self._encoding = parts, encoding
        translated = [part.raw for part in parts if part.is_translated]
        count = len(translated)
        self.units = [
            TextUnit(raw, text_format, f"part {number} of {count}" if count > 1 else "")
            for number, raw in enumerate(translated, start=1)
        ]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The document; a part without a translation is as it was."""
        answers = iter(translations)
        texts = (next(answers).text if part.is_translated else None for part in self._parts)
        pairs = zip(self._parts, texts, strict=True)
        return self._encoding.encode("".join(part.raw if text is None else text for part, text in pairs))


def cut(source: str, places: Iterable[int]) -> Iterator[MarkupPart]:
    """``source`` in parts within the bounds, as far as it may be cut.

    Args:
        source: the document, or a part of it.
        places: offsets, in rising order, at which it may be cut.
    """
    start = last = tags = 0
    for place in (*places, len(source)):
        new_tags = source.count("<", last, place)
        if last > start and (place - start > MOST_CHARACTERS or tags + new_tags > MOST_TAGS):
            yield MarkupPart(source[start:last])
            start, tags = last, 0
        last = place
        tags += new_tags
    yield MarkupPart(source[start:])


def fits(source: str) -> bool:
    """Whether ``source`` is within the bounds of one part."""
    return len(source) <= MOST_CHARACTERS and source.count("<") <= MOST_TAGS
