"""Entries of a glossary as DeepL's API sends them: tab-separated lines, or CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from protocol.errors import InvalidRequest
from protocol.glossary import MAX_TERM_CHARACTERS, normalize_term

MAX_ENTRIES = 20_000
"""Entries of one dictionary."""


def parse_entries(text: str, entries_format: str) -> dict[str, str]:
    """Each term's translation.

    Args:
        text: the entries.
        entries_format: ``tsv`` or ``csv``; columns of a CSV after the second (language codes) are not read.

    Raises:
        InvalidRequest: a line is no entry, a term has two translations, or there are none or too many.
    """
    rows = _rows(text, entries_format)
    entries: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < 2 or (entries_format == "tsv" and len(row) > 2):
            raise InvalidRequest(f"Invalid glossary entries provided: line {number} is no pair.")
        term, translation = normalize_term(row[0]), normalize_term(row[1])
        if not term or not translation or max(len(term), len(translation)) > MAX_TERM_CHARACTERS:
            raise InvalidRequest(
                f"Invalid glossary entries provided: line {number} has an empty or too long term."
            )
        if entries.setdefault(term, translation) != translation:
            raise InvalidRequest(
                f"Invalid glossary entries provided: line {number} has another translation of an earlier term."
            )
    if not entries:
        raise InvalidRequest("Invalid glossary entries provided: there are none.")
    if len(entries) > MAX_ENTRIES:
        raise InvalidRequest(f"Invalid glossary entries provided: more than {MAX_ENTRIES}.")
    return entries


def _rows(text: str, entries_format: str) -> list[list[str]]:
    """The cells of each line."""
    if entries_format == "tsv":
        return [line.split("\t") for line in text.splitlines()]
    if entries_format != "csv":
        raise InvalidRequest("Value for 'entries_format' not supported.")
    try:
        return list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise InvalidRequest(f"Invalid glossary entries provided: they are no CSV: {error}.") from None


def entries_tsv(entries: Mapping[str, str]) -> str:
    """The entries as tab-separated lines."""
    return "\n".join(f"{term}\t{translation}" for term, translation in entries.items())
