"""Splits a text into sentences by the sentencex library's rules for its language, with corrections. Pure.

A sentence does not end at a full stop without white space after it, before a digit or a small letter, at an
abbreviation (``abbreviations.json``, from Unicode CLDR), or behind the number of a list's item.

No character is changed: the parts, joined, are the text. :mod:`transformer.texts.segments` decides when to split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

import sentencex

_MAY_END = re.compile(
    r"[^\w ,\-'\"()\[\]/&%+#*@$_=<>|~^`\u00b7\u00d7\u2013\u2014\u2018-\u201d"
    r"\u3000\u3001\u3008-\u3011\uff08\uff09\uff0c]"
)
"""A character at which a line or a sentence may end: any but letters, digits and those at which none ends, whatever
the language. A text without one is one sentence, which need not be asked of the library."""
_WINDOW = 1_000
"""Characters of a line that are split at once: the library takes quadratic time, 1 ms for this many."""
_CONTEXT = 250
"""Characters before a window, of a sentence that began before it, that are read with the window."""

_CLOSING = "\"'”’»)]}*_"
_BEFORE_WORD = re.compile(r".*[\s(\[{\"'“‘«/,;:]", re.DOTALL)
_MAX_CORRECTED = 10_000
"""Parts. A line of more is no prose, and is refused for them anyway."""
_TAIL = 48
_MAX_CONTINUATION = 250
"""Characters of what goes on with a small letter or a digit after a full stop. Something longer is a sentence of its
own: a text in small letters would otherwise be one sentence, too long for most models."""
_NUMBERED = frozenset(
    (
        "No",
        "no",
        "Nr",
        "nr",
        "Fig",
        "fig",
        "Art",
        "art",
        "P",
        "p",
        "Pp",
        "pp",
        "Cat",
        "Ch",
        "Sec",
        "Vol",
        "Abb",
        "S",
        "s",
    )
)
"""Words with a full stop that a number follows."""
_OPENING = "\"'“‘«([¿¡*_"
_LIST_NUMBER = re.compile(r"\s*(?:[(\[]?(\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)\]]|[-*•–])\s*\Z")
"""A part of nothing but the number or the mark of a list's item."""
_NUMBER_AT_START = re.compile(r"\s*[(\[]?(\d{1,3})[.)\]]\s")
_NUMBER_AT_END = re.compile(r"(?<=\s)[(\[]?(\d{1,3})[.)\]]\s+\Z")


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of ``text``, each with the white space after it. Joined, they are ``text``.

    Args:
        text: any text.
        language: BCP 47 tag; a language without rules of its own gets those of a related one.
    """
    if text and not _MAY_END.search(text):
        return [text]  # as most titles are
    lines = [line for line in text.splitlines(keepends=True) if line]
    parts = [part for line in lines for part in _corrected(_of_line(line, language), language)]
    return parts if len(parts) == 1 else list(_with_space(parts))


def _of_line(line: str, language: str) -> list[str]:
    if len(line) <= _WINDOW:
        return _of_window(line, language)
    sentences: list[str] = []
    begun: list[str] = []
    rest = ""
    for at in range(0, len(line), _WINDOW):
        *whole, rest = _of_window(rest + line[at : at + _WINDOW], language)
        if whole:
            sentences += ["".join([*begun, whole[0]]), *whole[1:]]
            begun = []
        if len(rest) > 2 * _CONTEXT:
            begun.append(rest[:-_CONTEXT])
            rest = rest[-_CONTEXT:]
    return [*sentences, "".join([*begun, rest])]


def _of_window(text: str, language: str) -> list[str]:
    parts = [part for part in sentencex.segment(language.split("-")[0].lower(), text) if part]
    # Characters must not be lost, even if the library drops some.
    return parts if "".join(parts) == text else [text]


def _corrected(parts: list[str], language: str) -> list[str]:
    """The parts of one line, joined where no sentence ends, and cut before the numbers of a list's items."""
    if len(parts) > _MAX_CORRECTED:
        return parts
    sentences: list[str] = []
    current = _Sentence("")
    for part in parts:
        if current.pieces == [""] or not _ends_sentence(current, part, language):
            current.add(part)
        else:
            whole, number = _without_next_number("".join(current.pieces))
            sentences.append(whole)
            current = _Sentence(number + part)
    return [*sentences, "".join(current.pieces)]


class _Sentence:
    """A sentence that is joined of parts."""

    def __init__(self, piece: str) -> None:
        self.pieces = [piece]
        self.characters = len(piece)
        self.tail = piece[-_TAIL:]
        """The last characters, which decide whether the sentence ends there."""
        self.is_continued = False
        """Whether it went on with a small letter or a digit after a full stop."""

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.characters += len(piece)
        self.tail = (self.tail + piece)[-_TAIL:]


def _ends_sentence(sentence: _Sentence, after: str, language: str) -> bool:
    """Whether ``sentence`` ends before the part ``after`` of the same line."""
    if sentence.characters < _TAIL and _LIST_NUMBER.match(sentence.tail):
        return False
    before = sentence.tail.rstrip()
    end = before.rstrip(_CLOSING)[-1:]
    first = after.lstrip(_OPENING)[:1]
    if len(before) == len(sentence.tail):  # no white space
        return end in "。！？｡" if first.isascii() and first.isalnum() else end not in ".．"
    if end in ".．" and _is_abbreviation(before, language, before_number=first.isdecimal()):
        return False
    if len(after) > _MAX_CONTINUATION or sentence.is_continued:
        return True
    if first.islower():
        sentence.is_continued = end in ".．" or before[-1:] in _CLOSING
    elif first.isdecimal():
        sentence.is_continued = end in ".．" and not _LIST_NUMBER.match(after)
    return not sentence.is_continued


def _is_abbreviation(before: str, language: str, *, before_number: bool) -> bool:
    word = _BEFORE_WORD.sub("", before[:-1])
    return word in _abbreviations(language.split("-")[0].lower()) or (before_number and word in _NUMBERED)


def _without_next_number(sentence: str) -> tuple[str, str]:
    """A sentence that begins with a list's number, and the number of the next item that it ends with, if any."""
    if (first := _NUMBER_AT_START.match(sentence)) is None:
        return sentence, ""
    last = _NUMBER_AT_END.search(sentence, max(0, len(sentence) - _TAIL))
    if last is None or int(last[1]) != int(first[1]) + 1:
        return sentence, ""
    return sentence[: last.start()], sentence[last.start() :]


@lru_cache(maxsize=64)
def _abbreviations(language: str) -> frozenset[str]:
    document = json.loads(files(__package__).joinpath("abbreviations.json").read_text(encoding="utf-8"))
    own = [
        form for word in document["titles"].get(language, ()) for form in (word, word[0].upper() + word[1:])
    ]
    return frozenset([*document["cldr"].get(language, ()), *own])


def _with_space(parts: list[str]) -> Iterator[str]:
    """``parts``, with parts of white space alone appended to the part before."""
    held = ""
    for part in parts:
        if held and part.strip():
            if held.strip():
                yield held
                held = part
            else:
                held += part
        else:
            held += part
    if held:
        yield held
