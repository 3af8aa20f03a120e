"""A document that is one unit as it stands."""

from __future__ import annotations

from collections.abc import Sequence

from documents.encoding import TextEncoding
from documents.interface import TextUnit, UnitTranslation


class WholeText:
    """A document of one unit."""

    def __init__(self, unit: TextUnit, encoding: TextEncoding) -> None:
        self.units = [unit]
        self._encoding = encoding

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The translation, or the document as it was."""
        (translation,) = translations
        return self._encoding.encode(self.units[0].text if translation.text is None else translation.text)
