"""Parses glossaries of callers and of releases: JSON to frozen values.

::

    {"terms": {"shirt": "衬衫"}, "keep": ["AcmeCorp"]}

is a caller's glossary, in the request parameter ``glossary``. A release's ``glossary.json`` has one for each language
pair, and may list terms that are kept in all pairs::

    {"schema": 1, "keep": ["AcmeCorp"], "pairs": [{"source": "en", "target": "zh", "terms": {"shirt": "衬衫"}}]}

Terms have the normal form of texts (:mod:`protocol.normal_form`), on one line. Error messages name entries by
position, from 0, and never quote one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, TooLong
from protocol.messages import Glossary
from protocol.normal_form import normal_text
from protocol.release_documents import ReleaseError

GLOSSARY_SCHEMA = 1
GLOSSARY_FILE = "glossary.json"

MAX_GLOSSARY_CHARACTERS = 65_536
"""Limit of the JSON text of a caller's glossary."""
MAX_GLOSSARY_ENTRIES = 1_000
"""Limit of a caller's glossary: terms and kept terms together."""
MAX_TERM_CHARACTERS = 200
"""Limit of a term, and of its translation."""

_EXAMPLE = 'it must be JSON like {"terms": {"shirt": "衬衫"}, "keep": ["AcmeCorp"]}'


@dataclass(frozen=True, slots=True)
class ReleaseGlossary:
    """``glossary.json``: a glossary by (source, target) pair, each with the terms that are kept in all pairs."""

    pairs: Mapping[tuple[str, str], Glossary]


class _InvalidGlossaryError(Exception):
    """The JSON is not a glossary. The message fits a caller's glossary and a release's."""


class _JsonObject(list[tuple[str, Any]]):
    """The members of a JSON object in order, duplicates included."""


def parse_glossary(text: str) -> Glossary:
    """Parse a caller's glossary.

    Raises:
        InvalidRequest: ``text`` is not a glossary.
        TooLong: it exceeds a limit.
    """
    if len(text) > MAX_GLOSSARY_CHARACTERS:
        raise TooLong(
            f"parameter glossary has {len(text)} characters, at most {MAX_GLOSSARY_CHARACTERS} are taken; send only "
            "the entries that the texts need, or put them into the release's glossary.json",
            code=ErrorCode.GLOSSARY_TOO_LARGE,
        )
    try:
        glossary = _glossary(_parsed(text))
    except _InvalidGlossaryError as error:
        raise InvalidRequest(f"parameter glossary: {error}") from None
    entries = len(glossary.terms) + len(glossary.keep)
    if entries > MAX_GLOSSARY_ENTRIES:
        raise TooLong(
            f"parameter glossary has {entries} entries, at most {MAX_GLOSSARY_ENTRIES} are taken; send only the "
            "entries that the texts need, or put them into the release's glossary.json",
            code=ErrorCode.GLOSSARY_TOO_LARGE,
        )
    return glossary


def format_glossary(glossary: Glossary) -> str:
    """The JSON text of a glossary: the inverse of :func:`parse_glossary`."""
    terms = ", ".join(f"{_json(source)}: {_json(target)}" for source, target in glossary.terms)
    return f'{{"terms": {{{terms}}}, "keep": {_json(list(glossary.keep))}}}'


def load_release_glossary(path: Path, pairs: Sequence[tuple[str, str]]) -> ReleaseGlossary:
    """Parse a release's ``glossary.json``; an empty glossary if there is no such file.

    Args:
        path: of the file.
        pairs: (source, target) pairs that the release translates.

    Raises:
        ReleaseError: the file is not a glossary for these pairs.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ReleaseGlossary({})
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}") from error
    try:
        return ReleaseGlossary(_by_pair(_parsed(text), pairs))
    except _InvalidGlossaryError as error:
        raise ReleaseError(f"{path}: {error}; docs/texts.md shows one") from error


def normalize_term(text: str) -> str:
    """``text`` in normal form on one line: the form in which terms are compared."""
    return " ".join(normal_text(text).split())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_JsonObject)
    except (ValueError, RecursionError):
        raise _InvalidGlossaryError(f"it is not JSON; {_EXAMPLE}") from None
    return _object(document)


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, _JsonObject):
        raise _InvalidGlossaryError(_EXAMPLE)
    names = [name for name, _ in document]
    if len(set(names)) != len(names):
        raise _InvalidGlossaryError("it names a part twice; name each once")
    return dict(document)


def _glossary(document: Mapping[str, Any], *, other_fields: Sequence[str] = ()) -> Glossary:
    """The glossary in an object that may have ``other_fields``, too."""
    if not document.keys() <= {"terms", "keep", *other_fields}:
        raise _InvalidGlossaryError(
            f"it holds an unknown part; known are {', '.join(['terms', 'keep', *other_fields])}"
        )
    terms, keep = document.get("terms", _JsonObject()), document.get("keep", [])
    if not isinstance(terms, _JsonObject) or isinstance(keep, _JsonObject) or not isinstance(keep, list):
        raise _InvalidGlossaryError(f"terms must be an object and keep a list; {_EXAMPLE}")
    return Glossary(
        terms=tuple(
            (_term(source, f"terms[{number}]"), _term(target, f"the translation of terms[{number}]"))
            for number, (source, target) in enumerate(terms)
        ),
        keep=tuple(_term(text, f"keep[{number}]") for number, text in enumerate(keep)),
    )


def _term(text: object, place: str) -> str:
    normal = normalize_term(text) if isinstance(text, str) else ""
    if not normal:
        raise _InvalidGlossaryError(f"{place} must be a string that is not empty")
    if len(normal) > MAX_TERM_CHARACTERS:
        raise _InvalidGlossaryError(
            f"{place} has {len(normal)} characters, a term may have {MAX_TERM_CHARACTERS}; shorten or remove it"
        )
    try:
        normal.encode()
    except UnicodeEncodeError:
        raise _InvalidGlossaryError(
            f"{place} holds half of a surrogate pair; send whole Unicode characters"
        ) from None
    return normal


def _by_pair(
    document: Mapping[str, Any], known: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Glossary]:
    if document.get("schema") != GLOSSARY_SCHEMA:
        raise _InvalidGlossaryError(f"its schema must be {GLOSSARY_SCHEMA}")
    if not document.keys() <= {"schema", "keep", "pairs"}:
        raise _InvalidGlossaryError("it holds an unknown part; known are schema, keep, pairs")
    everywhere = _glossary({"keep": document.get("keep", [])}).keep
    entries = document.get("pairs", [])
    if isinstance(entries, _JsonObject) or not isinstance(entries, list):
        raise _InvalidGlossaryError("pairs must be a list of objects with source, target, terms and keep")
    found = {pair: Glossary(keep=everywhere) for pair in known} if everywhere else {}
    own: set[tuple[str, str]] = set()
    for number, entry in enumerate(entries):
        pair, glossary = _pair(number, _object(entry))
        if pair not in known or pair in own:
            raise _InvalidGlossaryError(
                f"pairs[{number}] must be one of the release's pairs, and stand there once"
            )
        own.add(pair)
        found[pair] = Glossary(glossary.terms, everywhere + glossary.keep)
    return found


def _pair(number: int, entry: Mapping[str, Any]) -> tuple[tuple[str, str], Glossary]:
    try:
        glossary = _glossary(entry, other_fields=("source", "target"))
    except _InvalidGlossaryError as error:
        raise _InvalidGlossaryError(f"pairs[{number}]: {error}") from None
    return (str(entry.get("source")), str(entry.get("target"))), glossary
