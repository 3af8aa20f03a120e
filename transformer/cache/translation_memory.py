"""Reads a translation memory: pairs of text and translation from a TSV, CSV or TMX file.

`yiwen cache warm` puts them into the cache. External XML entities of a TMX file are not fetched.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

FORMATS = ("tsv", "csv", "tmx")
BLANK = "that are blank rows"
WITH_CODES = "with inline codes that are not tags"
WITHOUT_LANGUAGE = "without both languages"
"""What entries are left out for."""
_TAG = re.compile(r"\s*<[^<>]*>\s*")
_PAIRED = ("bpt", "ept")
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


def read_table(path: Path, delimiter: str, left_out: Counter[str]) -> Iterator[Pair]:
    """Pairs of a UTF-8 table without a header: text in the first column, translation in the second.

    Args:
        path: the file.
        delimiter: tab or comma. Quotes are CSV's in a CSV file and plain characters in a TSV file.
        left_out: is incremented for each row that is left out, by its reason.

    Raises:
        MemoryFileError: a row has fewer than two columns, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if delimiter == "\t":
                rows = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            else:
                rows = csv.reader(file, delimiter=delimiter)
            yield from _pairs(path, rows, left_out)
    except (OSError, UnicodeDecodeError) as error:
        raise MemoryFileError(f"{path} cannot be read: {error}") from error


def _pairs(path: Path, rows: _Rows, left_out: Counter[str]) -> Iterator[Pair]:
    try:
        for row in rows:
            if not any(map(str.strip, row)):
                left_out[BLANK] += bool(row)
                continue
            if len(row) < 2:
                raise MemoryFileError(f"{path}, line {rows.line_num}: a text and its translation are needed")
            yield Pair(row[0], row[1])
    except csv.Error as error:  # Python 3.10 refuses a NUL, later ones read it
        raise MemoryFileError(f"{path}, line {max(1, rows.line_num)}: {error}") from error


def read_tmx(
    path: Path, is_source: Callable[[str], bool], is_target: Callable[[str], bool], left_out: Counter[str]
) -> Iterator[Pair]:
    """Pairs of a TMX file, in its order. Inline codes that stand for tags are dropped.

    Args:
        path: the file.
        is_source: whether an ``xml:lang`` is the language of the texts.
        is_target: whether it is that of the translations.
        left_out: is incremented for each unit that is left out, by its reason.

    Raises:
        MemoryFileError: the file is no TMX or cannot be read.
    """
    root = None
    try:
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            if root is None:
                root = element
                if _local_name(root) != "tmx":
                    raise MemoryFileError(f"{path} is not TMX: its first element is {_local_name(root)}")
            if event == "end" and _local_name(element) == "tu":
                yield from _pair(element, is_source, is_target, left_out)
                element.clear()  # or the whole file would stay in memory
    except (OSError, ElementTree.ParseError) as error:
        raise MemoryFileError(f"{path} cannot be read: {error}") from error


def _pair(
    unit: ElementTree.Element,
    is_source: Callable[[str], bool],
    is_target: Callable[[str], bool],
    left_out: Counter[str],
) -> Iterator[Pair]:
    source, target = _segment(unit, is_source), _segment(unit, is_target)
    if source is None or target is None:
        left_out[WITHOUT_LANGUAGE] += 1
        return
    text, translation = _words(source), _words(target)
    if text is None or translation is None:
        left_out[WITH_CODES] += 1
    else:
        yield Pair(text, translation)


def _segment(unit: ElementTree.Element, wanted: Callable[[str], bool]) -> ElementTree.Element | None:
    for variant in unit:
        tag = variant.get(_LANG) or variant.get("lang") or ""
        if _local_name(variant) == "tuv" and tag and wanted(tag):
            return next((child for child in variant if _local_name(child) == "seg"), None)
    return None


def _words(segment: ElementTree.Element) -> str | None:
    """The text without codes for tags; None if a code stands for something else, such as a placeholder."""
    parts = [segment.text or ""]
    for code in segment:
        # Only "hi" holds text; the others hold the code of the original.
        inner = _words(code) if _local_name(code) == "hi" else "" if _is_tag(code) else None
        if inner is None:
            return None
        parts += inner, code.tail or ""
    return "".join(parts)


def _is_tag(code: ElementTree.Element) -> bool:
    """Whether a code is a tag of the original. Paired codes are, where they do not say what they stand for."""
    said = (code.text or "").strip()
    return not len(code) and (_TAG.fullmatch(said) is not None if said else _local_name(code) in _PAIRED)


def _local_name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
