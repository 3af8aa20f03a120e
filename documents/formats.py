"""The table of file formats: names, suffixes, and the module of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from documents.interface import DocumentLanguages, FileFormatError, ParsedDocument


class FileFormat(str, Enum):
    """Formats that are read and written."""

    TEXT = "text"
    HTML = "html"
    XML = "xml"
    PO = "po"
    JSON = "json"
    ARB = "arb"
    YAML = "yaml"
    PROPERTIES = "properties"
    STRINGS = "strings"
    ICU = "icu"
    MARKDOWN = "markdown"
    XLIFF = "xliff"
    SRT = "srt"
    VTT = "vtt"
    DOCX = "docx"
    PPTX = "pptx"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True)
class FormatEntry:
    """How files of a format are named, and who reads them."""

    suffixes: tuple[str, ...]
    module: str
    """Has a function ``parse`` as :class:`FormatModule`; imported when it is needed."""


FORMATS: Mapping[FileFormat, FormatEntry] = {
    FileFormat.TEXT: FormatEntry((".txt",), "documents.plain_text"),
    FileFormat.HTML: FormatEntry((".html", ".htm", ".xhtml"), "documents.html"),
    FileFormat.XML: FormatEntry((".xml",), "documents.xml"),
    FileFormat.PO: FormatEntry((".po", ".pot"), "documents.po"),
    FileFormat.JSON: FormatEntry((".json",), "documents.json_strings"),
    FileFormat.ARB: FormatEntry((".arb",), "documents.arb"),
    FileFormat.YAML: FormatEntry((".yaml", ".yml"), "documents.yaml_strings"),
    FileFormat.PROPERTIES: FormatEntry((".properties",), "documents.properties"),
    FileFormat.STRINGS: FormatEntry((".strings",), "documents.apple_strings"),
    FileFormat.ICU: FormatEntry((), "documents.icu_lines"),
    FileFormat.MARKDOWN: FormatEntry((".md", ".markdown"), "documents.markdown"),
    FileFormat.XLIFF: FormatEntry((".xliff", ".xlf"), "documents.xliff"),
    FileFormat.SRT: FormatEntry((".srt",), "documents.subtitles"),
    FileFormat.VTT: FormatEntry((".vtt",), "documents.vtt"),
    FileFormat.DOCX: FormatEntry((".docx", ".docm"), "documents.docx"),
    FileFormat.PPTX: FormatEntry((".pptx", ".pptm"), "documents.pptx"),
    FileFormat.XLSX: FormatEntry((".xlsx", ".xlsm"), "documents.xlsx"),
}


class FormatModule(Protocol):
    """A module of one format."""

    def parse(self, data: bytes, languages: DocumentLanguages) -> ParsedDocument:
        """Take a document apart.

        Raises:
            FileFormatError: the bytes are not a document of this format.
        """


BINARY = frozenset({FileFormat.DOCX, FileFormat.PPTX, FileFormat.XLSX})
"""Formats that are no text."""


def format_of(name: str) -> FileFormat:
    """The format of a file by the suffix of its name; text if the suffix is unknown."""
    suffix = Path(name).suffix.lower()
    return next((kind for kind, entry in FORMATS.items() if suffix in entry.suffixes), FileFormat.TEXT)


def parse_document(data: bytes, kind: FileFormat, languages: DocumentLanguages) -> ParsedDocument:
    """Take a document apart.

    Args:
        data: the file's bytes.
        kind: its format.
        languages: what it is translated between.

    Raises:
        FileFormatError: the bytes are not a document of this format, or a package for it is not installed.
    """
    try:
        module = cast(FormatModule, import_module(FORMATS[kind].module))
    except ModuleNotFoundError as error:
        raise FileFormatError(
            f"{kind.value} files need the package {error.name}: pip install '.[files]' in a checkout"
        ) from None
    return module.parse(data, languages)
