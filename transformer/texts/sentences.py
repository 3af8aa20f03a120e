"""Splits a text into sentences by the sentencex library's rules for its language. Pure.

No character is changed: the parts, joined, are the text. :mod:`transformer.texts.segments` decides when to split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

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


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of ``text``, each with the white space after it. Joined, they are ``text``.

    Args:
        text: any text.
        language: BCP 47 tag; a language without rules of its own gets those of a related one.
    """
    if text and not _MAY_END.search(text):
        return [text]  # as most titles are
    lines = [line for line in text.splitlines(keepends=True) if line]
    parts = [part for line in lines for part in _of_line(line, language)]
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
