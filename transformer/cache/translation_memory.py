"""Reads a translation memory: pairs of text and translation from a TSV, CSV or TMX file.

`yiwen cache warm` puts them into the cache. External XML entities of a TMX file are not fetched.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

FORMATS = ("tsv", "csv", "tmx")
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


class MemoryFileError(Exception):
    """The file is not a translation memory; the message names file and place, never a text."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and its translation, unchanged."""

    text: str
    translation: str


class _Rows(Protocol):
    """The type of :func:`csv.reader`, which has no public name."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


def read_table(path: Path, delimiter: str) -> Iterator[Pair]:
    """Pairs of a UTF-8 table without a header: text in the first column, translation in the second.

    Args:
        path: the file.
        delimiter: tab or comma. Quotes are CSV's in a CSV file and plain characters in a TSV file.

    Raises:
        MemoryFileError: a row has fewer than two columns, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if delimiter == "\t":
                rows = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            else:
                rows = csv.reader(file, delimiter=delimiter)
            yield from _pairs(path, rows)
    except (OSError, UnicodeDecodeError) as error:
        raise MemoryFileError(f"{path} cannot be read: {error}") from error


def _pairs(path: Path, rows: _Rows) -> Iterator[Pair]:
    try:
        for row in rows:
            if not row:
                continue
            if len(row) < 2:
                raise MemoryFileError(f"{path}, line {rows.line_num}: a text and its translation are needed")
            yield Pair(row[0], row[1])
    except csv.Error as error:  # Python 3.10 refuses a NUL, later ones read it
        raise MemoryFileError(f"{path}, line {max(1, rows.line_num)}: {error}") from error


def read_tmx(
    path: Path, is_source: Callable[[str], bool], is_target: Callable[[str], bool]
) -> Iterator[Pair]:
    """Pairs of a TMX file, in its order; units that lack a language or hold inline markup are left out.

    Args:
        path: the file.
        is_source: whether an ``xml:lang`` is the language of the texts.
        is_target: whether it is that of the translations.

    Raises:
        MemoryFileError: the file is no XML or cannot be read.
    """
    try:
        for _, element in ElementTree.iterparse(path, events=("end",)):
            if element.tag != "tu":
                continue
            text, translation = _segment(element, is_source), _segment(element, is_target)
            if text is not None and translation is not None:
                yield Pair(text, translation)
            element.clear()  # or the whole file would stay in memory
    except (OSError, ElementTree.ParseError) as error:
        raise MemoryFileError(f"{path} cannot be read: {error}") from error


def _segment(unit: ElementTree.Element, wanted: Callable[[str], bool]) -> str | None:
    for variant in unit.iterfind("tuv"):
        segment = variant.find("seg")
        tag = variant.get(_LANG) or variant.get("lang") or ""
        if segment is not None and tag and wanted(tag):
            # Inline elements stand for markup codes; without them the text would be a different one.
            return None if len(segment) else segment.text or ""
    return None
