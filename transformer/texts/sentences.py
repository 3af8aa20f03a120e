"""Splits a text into sentences by the sentencex library's rules for its language. Pure.

No character is changed: the parts, joined, are the text. :mod:`transformer.texts.segments` decides when to split.
"""

from __future__ import annotations

from collections.abc import Iterator

import sentencex


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of ``text``, each with the white space after it. Joined, they are ``text``.

    Args:
        text: any text.
        language: BCP 47 tag; a language without rules of its own gets those of a related one.
    """
    lines = [line for line in text.splitlines(keepends=True) if line]
    parts = [part for line in lines for part in _of_line(line, language)]
    return parts if len(parts) == 1 else list(_with_space(parts))


def _of_line(line: str, language: str) -> list[str]:
    parts = [part for part in sentencex.segment(language.split("-")[0].lower(), line) if part]
    # Characters must not be lost, even if the library drops some.
    return parts if "".join(parts) == line else [line]


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
