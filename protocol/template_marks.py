"""The marks of a prompt template, such as ``{text}`` and ``{target}``, and what they become. Pure."""

from __future__ import annotations

import re
from typing import Protocol

TEXT = "{text}"
_MARK = re.compile(r"\{([A-Za-z_]+(?::[A-Za-z][A-Za-z0-9-]*)?)\}")
"""A word in braces is a mark; braces around anything else are text."""
_KNOWN = re.compile(r"text|(?:source|target)(?:_code|_name(?::[A-Za-z][A-Za-z0-9-]*)?)?")
KNOWN_MARKS = ("text", "source", "target", "source_name", "target_name", "source_code", "target_code")


class NamedLanguage(Protocol):
    """What marks need of :class:`protocol.release.Language`."""

    @property
    def prompt(self) -> str:
        """What ``{source}`` or ``{target}`` becomes."""
        ...

    @property
    def name(self) -> str:
        """What ``{source_name}`` or ``{target_name}`` becomes."""
        ...

    def name_in(self, language: str) -> str:
        """What ``{source_name:LANGUAGE}`` becomes."""
        ...


def unknown_marks(template: str) -> list[str]:
    """Marks of a template that nothing stands for, without braces."""
    return [mark for mark in _MARK.findall(template) if not _KNOWN.fullmatch(mark)]


def literal_parts(template: str) -> list[str]:
    """The text of a template between its marks."""
    return [part for at, part in enumerate(_MARK.split(template)) if at % 2 == 0]


def named_in(template: str) -> set[str]:
    """Tags of the languages in which a template writes names of languages."""
    return {mark.partition(":")[2] for mark in _MARK.findall(template) if ":" in mark}


def filled_parts(
    template: str, source: tuple[str, NamedLanguage], target: tuple[str, NamedLanguage]
) -> tuple[str, str]:
    """A template before and after its text, with names in the place of marks.

    Args:
        template: holds ``{text}`` once.
        source: code and description of the source language.
        target: the same of the target language.
    """

    def fill(match: re.Match[str]) -> str:
        mark, _, language = match.group(1).partition(":")
        side, _, kind = mark.partition("_")
        if side not in ("source", "target"):
            return match.group(0)
        code, described = source if side == "source" else target
        if kind == "code":
            return code
        if kind == "name":
            return described.name_in(language) if language else described.name
        return described.prompt

    before, after = template.split(TEXT)
    return _MARK.sub(fill, before), _MARK.sub(fill, after)
