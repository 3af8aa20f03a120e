"""Translators of units whose answers are known."""

from __future__ import annotations

import re
from collections.abc import Callable

from documents.formats import FileFormat, parse_document
from documents.interface import DocumentLanguages, TextUnit, UnitTranslation
from protocol.messages import TextFormat

Translator = Callable[[TextUnit], str | None]
LANGUAGES = DocumentLanguages("zh", "en")
_MARKUP = re.compile(r"(<[^>]*>|&[#\w]+;)")


def same(unit: TextUnit) -> str:
    return unit.text


def upper(unit: TextUnit) -> str:
    """Capitals, but for markup."""
    if unit.text_format is TextFormat.TEXT:
        return unit.text.upper()
    return "".join(part if index % 2 else part.upper() for index, part in enumerate(_MARKUP.split(unit.text)))


def nothing(unit: TextUnit) -> None:
    return None


def translated(
    data: bytes, kind: FileFormat, translator: Translator, languages: DocumentLanguages = LANGUAGES
) -> bytes:
    document = parse_document(data, kind, languages)
    return document.render([UnitTranslation(translator(unit)) for unit in document.units])


def texts(data: bytes, kind: FileFormat) -> list[str]:
    return [unit.text for unit in parse_document(data, kind, LANGUAGES).units]
