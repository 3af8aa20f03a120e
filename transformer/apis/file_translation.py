"""Translates files: takes a document apart, has its texts translated, and puts it together again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from documents.formats import FORMATS, format_of, parse_document
from documents.interface import DocumentLanguages, FileFormatError, ParsedDocument, TextUnit, UnitTranslation
from protocol.errors import InvalidRequest
from protocol.messages import Formality, Glossary, OnError
from serving.api_request import ApiRequest, UploadedFile
from transformer.apis.text_service import TextService, request_of

_BATCH_TEXTS = 64
_BATCH_CHARACTERS = 20_000
"""Texts are sent in requests of at most so many, each with its own deadline."""

SUFFIXES = tuple(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
"""Of the files that are translated."""


class UnknownFileFormat(InvalidRequest):
    """400: the file's name has no suffix of a known format."""


@dataclass(frozen=True, slots=True)
class TranslatedFile:
    """The result."""

    content: bytes
    characters: int
    """Of the texts that were translated."""
    is_unchanged: bool
    """Whether every text was in the target language already."""


@dataclass(frozen=True, slots=True)
class FileLanguages:
    """What a file is translated between, by the release's tags."""

    source: str | None
    target: str
    glossary: Glossary | None = None
    formality: Formality = Formality.DEFAULT


def parse_file(file: UploadedFile, languages: FileLanguages) -> ParsedDocument:
    """Take a file apart; may take as long as a second.

    Raises:
        UnknownFileFormat: its name has no known suffix.
        InvalidRequest: it is not what its suffix says.
    """
    if Path(file.name).suffix.lower() not in SUFFIXES:
        raise UnknownFileFormat(f"Invalid file data or file extension: known are {', '.join(SUFFIXES)}")
    kind = format_of(file.name)
    try:
        return parse_document(file.content, kind, DocumentLanguages(languages.target, languages.source))
    except FileFormatError as error:
        raise InvalidRequest(f"Invalid file data: {error}") from None


async def translate_file(
    service: TextService, document: ParsedDocument, languages: FileLanguages, request: ApiRequest
) -> TranslatedFile:
    """Translate a document's texts; one that cannot be translated stays as it is.

    Args:
        service: translates.
        document: from :func:`parse_file`.
        languages: of all texts.
        request: whose caller asks for it.

    Raises:
        YiwenError: the service could not translate, or the caller's quota is used up.
    """
    units = document.units
    translations: list[UnitTranslation] = []
    characters = 0
    same = True
    for batch in _batches(units):
        texts = [unit.text for unit in batch]
        message = replace(
            request_of(texts, languages.source, languages.target),
            text_format=batch[0].text_format,
            on_error=OnError.PER_TEXT,
            glossary=languages.glossary,
            formality=languages.formality,
            contexts=service.fitting_contexts(
                [unit.context for unit in batch], languages.source, languages.target
            ),
        )
        info = replace(request.info, received_at=time.monotonic(), log_fields={})
        response = await service.translate(message, replace(request, info=info))
        for each in response.translations:
            text = None if each.error is not None else each.text
            translations.append(UnitTranslation(text, bool(each.flags)))
            same = same and each.source == languages.target
        characters += sum(map(len, texts))
    content = await asyncio.to_thread(document.render, translations)
    return TranslatedFile(content, characters, is_unchanged=same and bool(units))


def _batches(units: Sequence[TextUnit]) -> Iterator[list[TextUnit]]:
    """The units in order, as batches of one text format."""
    batch: list[TextUnit] = []
    size = 0
    for unit in units:
        full = len(batch) >= _BATCH_TEXTS or size + len(unit.text) > _BATCH_CHARACTERS
        if batch and (full or unit.text_format is not batch[0].text_format):
            yield batch
            batch, size = [], 0
        batch.append(unit)
        size += len(unit.text)
    if batch:
        yield batch
