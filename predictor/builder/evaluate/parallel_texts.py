"""Test sets that people bring: texts with reference translations in TSV, JSON lines, or two plain files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.builder.errors import BrokenSet

Pair = tuple[str, str]

_TAG = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})*")
_FORMS = (
    "a .tsv has lines `source⇥target⇥text⇥reference`, or `text⇥reference` below a line `en⇥fr`; a .jsonl has "
    "objects with source, target, text and reference; plain text has a text per line, and its translations in the "
    "file of --references"
)


@dataclass(frozen=True, slots=True)
class ParallelText:
    """A text and what it should be translated to."""

    pair: Pair
    """Source and target, as the set names them."""
    text: str
    references: tuple[str, ...]
    """At least one."""


def read_parallel_texts(path: Path, *, references: Path | None, pair: Pair | None) -> list[ParallelText]:
    """The texts of a file, by its ending: ``.tsv``, ``.jsonl``, or plain text.

    JSON lines may also be those of WMT24++ (``lp``, ``source``, ``target``); its bad sources are left out.

    Args:
        path: of the file, in UTF-8.
        references: file with the translation of each line of a plain file.
        pair: of lines that name none.

    Raises:
        BrokenSet: it cannot be read as such, or holds no text.
    """
    suffix = path.suffix.lower()
    if suffix in (".tsv", ".jsonl") and references is not None:
        raise BrokenSet(f"{path} has its own references: leave --references out, or give a plain text file")
    if suffix == ".tsv":
        texts = list(_tab_separated(path, pair))
    elif suffix == ".jsonl":
        texts = list(_json_lines(path, pair))
    else:
        texts = _plain(path, references, pair)
    if not texts:
        raise BrokenSet(f"{path} holds no text")
    return texts


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without line ends.

    Raises:
        BrokenSet: it cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BrokenSet(f"{path} cannot be read as UTF-8 text: {error}") from error
    return content.removesuffix("\n").split("\n") if content else []


def parallel(sources: Sequence[str], references: Sequence[str], pair: Pair) -> list[ParallelText]:
    """The texts of two lists of the same length; places where one of them is empty are left out."""
    return [
        ParallelText(pair, text.strip(), (reference.strip(),))
        for text, reference in zip(sources, references, strict=True)
        if text.strip() and reference.strip()
    ]


def _tab_separated(path: Path, pair: Pair | None) -> Iterator[ParallelText]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        if number == 1 and len(fields) == 2 and _is_header(fields, pair):
            pair = (fields[0], fields[1])
            continue
        if len(fields) == 4:
            (source, target), rest = fields[:2], fields[2:]
        elif len(fields) == 2 and pair is not None:
            (source, target), rest = pair, fields
        else:
            raise BrokenSet(f"{path}, line {number} has {len(fields)} fields: {_FORMS}")
        yield _text(path, number, (source, target), rest[0], rest[1:])


def _is_header(fields: Sequence[str], pair: Pair | None) -> bool:
    """Whether the first line names the languages; with a pair given, ``one`` and ``un`` are texts."""
    if not all(map(_TAG.fullmatch, fields)):
        return False
    return pair is None or set(fields) == set(pair) or all("-" in tag or "_" in tag for tag in fields)


def _json_lines(path: Path, pair: Pair | None) -> Iterator[ParallelText]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise BrokenSet(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise BrokenSet(f"{path}, line {number} is no JSON object: {_FORMS}")
        if document.get("is_bad_source"):
            continue
        yield _of_object(path, number, document, pair)


def _of_object(path: Path, number: int, document: dict[str, Any], pair: Pair | None) -> ParallelText:
    if isinstance(names := document.get("lp"), str):  # WMT24++, where source and target are the texts
        source, _, target = names.partition("-")
        return _text(path, number, (source, target), document.get("source"), [document.get("target")])
    found = (document.get("source"), document.get("target"))
    if found == (None, None) and pair is not None:
        found = pair
    references = document.get("references", [document.get("reference")])
    if not (isinstance(found[0], str) and isinstance(found[1], str) and isinstance(references, list)):
        raise BrokenSet(f"{path}, line {number} does not say its languages or references: {_FORMS}")
    return _text(path, number, (found[0], found[1]), document.get("text"), references)


def _text(path: Path, number: int, pair: Pair, text: object, references: Sequence[object]) -> ParallelText:
    good = [reference for reference in references if isinstance(reference, str) and reference.strip()]
    if not isinstance(text, str) or not text.strip() or len(good) < max(1, len(references)):
        raise BrokenSet(f"{path}, line {number} has no text, or no reference to it: {_FORMS}")
    return ParallelText(pair, text.strip(), tuple(reference.strip() for reference in good))


def _plain(path: Path, references: Path | None, pair: Pair | None) -> list[ParallelText]:
    if references is None:
        raise BrokenSet(
            f"{path} is plain text: name the file of its translations with --references. {_FORMS}"
        )
    if pair is None:
        pair = (path.suffix[1:], references.suffix[1:])
        if not all(pair):
            raise BrokenSet(f"{path} does not say its languages: add --pairs, such as --pairs en-fr")
    sources, translations = read_lines(path), read_lines(references)
    if len(sources) != len(translations):
        raise BrokenSet(
            f"{path} has {len(sources)} lines, but {references} has {len(translations)}: line n of one must "
            "translate line n of the other"
        )
    return parallel(sources, translations, pair)
