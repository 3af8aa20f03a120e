"""A text's sentences, by the sentencex library's rules for its language. Pure.

It cuts between characters and changes none: the parts, joined, are the text. When to cut is
:mod:`transformer.texts.segments`'s to decide.
"""

from __future__ import annotations

from collections.abc import Iterator

import sentencex


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of ``text``, each with the white space behind it; ``"".join`` gives ``text`` back.

    Args:
        text: any text.
        language: BCP 47 tag; rules of a near language serve one that has none of its own.
    """
    lines = [line for line in text.splitlines(keepends=True) if line]
    parts = [part for line in lines for part in _of_line(line, language)]
    return parts if len(parts) == 1 else list(_with_space(parts))


def _of_line(line: str, language: str) -> list[str]:
    parts = [part for part in sentencex.segment(language.split("-")[0].lower(), line) if part]
    # Nothing may be lost, whatever a release of the library makes of a text that nobody has thought of.
    return parts if "".join(parts) == line else [line]


def _with_space(parts: list[str]) -> Iterator[str]:
    """``parts`` with those of white space alone put to the one before."""
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
