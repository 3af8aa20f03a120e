"""JSON: string values are units; keys, numbers and every byte of the layout stay. ARB is JSON with metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from documents.encoding import TextEncoding, decode_text
from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.splices import TextSplice, splice_text
from documents.string_markup import format_of_string

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')
_ESCAPED = re.compile(r"\\u[0-9a-fA-F]{4}")


class JsonString(NamedTuple):
    """A string value."""

    start: int
    end: int
    text: str
    path: tuple[str, ...]
    """Keys and list indices above it."""


def json_strings(source: str) -> Iterator[JsonString]:
    """String values of a document that :func:`json.loads` takes, with offsets of their quotes."""
    path: list[str | int] = []
    previous = ""
    for found in _TOKEN.finditer(source):
        token = found[0]
        if token in "{[":
            path.append(0 if token == "[" else "")
        elif token in "}]":
            path.pop()
        elif token == "," and isinstance(path[-1], int):
            path[-1] += 1
        elif token[0] == '"':
            # A key stands behind "{" or, in an object, behind ",".
            if path and isinstance(path[-1], str) and previous in ("{", ","):
                path[-1] = json.loads(token)
            else:
                yield JsonString(*found.span(), json.loads(token), tuple(map(str, path)))
        previous = token


class JsonFile:
    """A JSON document whose strings are translated."""

    def __init__(
        self,
        source: str,
        strings: Sequence[JsonString],
        encoding: TextEncoding,
        fixed: Sequence[TextSplice] = (),
        contexts: Mapping[tuple[str, ...], str] | None = None,
    ) -> None:
        """Prepare the units.

        Args:
            source: the document.
            strings: those to translate.
            encoding: of the file.
            fixed: replacements that do not depend on a translation.
            contexts: what the document says about a string, by its path.
        """
        known = contexts or {}
        self._source, self._strings, self._encoding, self._fixed = source, strings, encoding, fixed
        self._only_ascii = source.isascii() and _ESCAPED.search(source) is not None
        self.units = [
            TextUnit(
                each.text,
                format_of_string(each.text),
                place=f"key {'.'.join(each.path)}",
                context=known.get(each.path, ""),
            )
            for each in strings
        ]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The document with its strings translated; one without a translation stays."""
        splices = [
            TextSplice(each.start, each.end, json.dumps(answer.text, ensure_ascii=self._only_ascii))
            for each, answer in zip(self._strings, translations, strict=True)
            if answer.text is not None and answer.text != each.text
        ]
        return self._encoding.encode(splice_text(self._source, [*self._fixed, *splices]))


def read_json(data: bytes) -> tuple[str, TextEncoding]:
    """The text of a JSON file.

    Raises:
        FileFormatError: it is not JSON.
    """
    text, encoding = decode_text(data)
    try:
        json.loads(text)
    except ValueError as error:
        raise FileFormatError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise FileFormatError("it is nested too deeply") from None
    return text, encoding


def parse(data: bytes, languages: DocumentLanguages) -> JsonFile:
    """Read a JSON document.

    Raises:
        FileFormatError: it is not JSON.
    """
    text, encoding = read_json(data)
    strings = [each for each in json_strings(text) if each.path[-1:] != ("$schema",)]
    return JsonFile(text, strings, encoding)
