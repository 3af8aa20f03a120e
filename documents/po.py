"""gettext catalogs (.po, .pot): messages without a translation get one; those that people translated stay.

A message's singular and plural are two units; each plural form that the catalog has gets one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polib

from documents.encoding import TextEncoding, decode_text
from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.string_markup import format_of_string

_PLURALS = re.compile(r"nplurals\s*=\s*(\d+)")
_CHARSET = re.compile(rb"Content-Type:[^\"\n]*charset=([A-Za-z0-9._-]+)", re.IGNORECASE)
_ONE_FORM = frozenset({"id", "ja", "ko", "lo", "ms", "my", "th", "vi", "zh"})
"""Languages without a plural."""
_TWO_FORMS = frozenset(
    {"bg", "da", "de", "el", "en", "es", "et", "fi", "hu", "it", "nb", "nl", "pt", "sv", "tr"}
)
"""Languages with a singular for 1 alone."""
_FUZZY = "fuzzy"


class PoMessage(NamedTuple):
    """A message to translate."""

    entry: polib.POEntry
    is_plural: bool


class PoFile:
    """A catalog."""

    def __init__(self, catalog: polib.POFile, encoding: TextEncoding, line_end: str, target: str) -> None:
        """Find the messages without a translation.

        Args:
            catalog: the catalog, which is changed by :meth:`render`.
            encoding: of the file.
            line_end: of the file.
            target: language tag of the translations.
        """
        self._catalog, self._encoding, self._line_end = catalog, encoding, line_end
        self._target = target
        self._messages = list(self._untranslated())
        self.units = [unit for message in self._messages for unit in _units(message.entry)]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The catalog; a message without a translation stays without one."""
        answers = iter(translations)
        for entry, is_plural in self._messages:
            if is_plural:
                self._set_plural(entry, next(answers), next(answers))
            else:
                answer = next(answers)
                entry.msgstr = _with_ends_of(entry.msgid, answer.text)
                _mark(entry, answer.is_flagged and answer.text is not None)
        self._state_language()
        try:
            return self._encoding.encode(self._text())
        except UnicodeEncodeError:  # the catalog's charset lacks the target's characters
            self._catalog.metadata["Content-Type"] = "text/plain; charset=UTF-8"
            return TextEncoding().encode(self._text())

    def _text(self) -> str:
        text = str(self._catalog)
        if not self._catalog.header:
            # polib writes a comment and a header where there were none.
            text = text.removeprefix("#\n") if self._catalog.metadata else text.partition("\n\n")[2]
        return text.rstrip("\n").replace("\n", self._line_end) + self._line_end

    def _untranslated(self) -> Iterator[PoMessage]:
        for entry in self._catalog:
            if entry.obsolete or not entry.msgid:
                continue
            if entry.msgid_plural:
                if not any(entry.msgstr_plural.values()) and self._forms(entry):
                    yield PoMessage(entry, is_plural=True)
            elif not entry.msgstr:
                yield PoMessage(entry, is_plural=False)

    def _forms(self, entry: polib.POEntry) -> int:
        """How many plural forms a message has: as the header says, as there are, or as the language has; else 0."""
        stated = _PLURALS.search(self._catalog.metadata.get("Plural-Forms", ""))
        language = self._target.partition("-")[0].lower()
        known = 1 if language in _ONE_FORM else 2 if language in _TWO_FORMS else 0
        return int(stated[1]) if stated else known or len(entry.msgstr_plural)

    def _set_plural(self, entry: polib.POEntry, one: UnitTranslation, many: UnitTranslation) -> None:
        forms = self._forms(entry)
        if one.text is None or many.text is None:
            return
        # With one form alone the plural's translation speaks of any number.
        answers = [many] if forms == 1 else [one, *[many] * (forms - 1)]
        entry.msgstr_plural = {
            number: _with_ends_of(entry.msgid, answer.text) for number, answer in enumerate(answers)
        }
        # More than two forms are more than the source says: a person has to look.
        _mark(entry, one.is_flagged or many.is_flagged or forms > 2)

    def _state_language(self) -> None:
        metadata = self._catalog.metadata
        if not metadata:
            return
        if not metadata.get("Language"):
            metadata["Language"] = self._target.replace("-", "_")
        language = self._target.partition("-")[0].lower()
        stated = _PLURALS.search(metadata.get("Plural-Forms", ""))
        if not stated and any(is_plural for _, is_plural in self._messages):
            if language in _ONE_FORM:
                metadata["Plural-Forms"] = "nplurals=1; plural=0;"
            elif language in _TWO_FORMS:
                metadata["Plural-Forms"] = "nplurals=2; plural=(n != 1);"


def _units(entry: polib.POEntry) -> Iterator[TextUnit]:
    context = "\n".join(part for part in (entry.msgctxt, entry.comment) if part)
    for text in filter(None, (entry.msgid, entry.msgid_plural)):
        yield TextUnit(text, format_of_string(text), f"line {entry.linenum}", context)


def _mark(entry: polib.POEntry, is_fuzzy: bool) -> None:
    if is_fuzzy and _FUZZY not in entry.flags:
        entry.flags.append(_FUZZY)


def _with_ends_of(source: str, text: str | None) -> str:
    """``text`` with line feeds at its ends where ``source`` has them, as msgfmt wants it."""
    if not text:
        return ""
    start, end = ("\n" if source.startswith("\n") else ""), ("\n" if source.endswith("\n") else "")
    return f"{start}{text.strip(chr(10))}{end}"


def parse(data: bytes, languages: DocumentLanguages) -> PoFile:
    """Read a catalog.

    Raises:
        FileFormatError: it cannot be read.
    """
    declared = _CHARSET.search(data)
    name = declared[1].decode().lower() if declared and declared[1] != b"CHARSET" else "utf-8"
    try:
        text, encoding = decode_text(data, name)
    except LookupError:
        raise FileFormatError(f"its charset {name} is not known") from None
    line_end = "\r\n" if "\r\n" in text else "\n"
    try:
        # polib takes a text without a line feed for a file's name.
        catalog = polib.pofile(text.replace("\r\n", "\n") + "\n", wrapwidth=78, encoding="utf-8")
    except OSError as error:
        raise FileFormatError(str(error)) from None
    return PoFile(catalog, encoding, line_end, languages.target)
