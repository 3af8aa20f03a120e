"""What every format reads and writes: units of text, and the document with their translations in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.messages import TextFormat


class FileFormatError(ValueError):
    """The bytes are not a document of the format; the message says where, without quoting the text."""


@dataclass(frozen=True, slots=True)
class DocumentLanguages:
    """Language tags that a document is marked with."""

    target: str
    source: str | None = None
    """None: not stated."""


@dataclass(frozen=True, slots=True)
class TextUnit:
    """A part of a document that is translated on its own."""

    text: str
    text_format: TextFormat = TextFormat.TEXT
    """Markup that ``text`` has; its translation has the same."""
    place: str = ""
    """Where it stands, in words of the format, such as ``cue 3``; empty if its number says it."""
    context: str = ""
    """What the document says about the text: a key, a translator's note."""


@dataclass(frozen=True, slots=True)
class UnitTranslation:
    """The answer to one unit."""

    text: str | None
    """None: there is no translation; the document keeps what it has."""
    is_flagged: bool = False
    """Whether the guards found a fault; formats with a mark for translations to be checked set it."""


class ParsedDocument(Protocol):
    """A document that is taken apart."""

    @property
    def units(self) -> Sequence[TextUnit]:
        """The texts to translate, in the order of the document."""

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The document with its texts replaced; everything else is as it was.

        Args:
            translations: one for each of :attr:`units`, in their order.
        """
