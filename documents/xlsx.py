"""Excel workbooks (.xlsx)."""

from __future__ import annotations

from documents.interface import DocumentLanguages
from documents.office import WORKBOOK, OfficeFile, parse_package


def parse(data: bytes, languages: DocumentLanguages) -> OfficeFile:
    """Read a file.

    Raises:
        FileFormatError: it is not of this format.
    """
    return parse_package(data, WORKBOOK)
