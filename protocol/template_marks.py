"""The marks of a prompt template, such as ``{text}`` and ``{target}``, and what they become. Pure.

:mod:`protocol.template_sections` has the marks of its optional sections.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from protocol.template_sections import (
    CONTEXT,
    FORMAL,
    FORMALITY,
    INFORMAL,
    TERM_LINES,
    TERMS,
    SectionError,
    present_sets,
    section_names,
    shown,
    term_line,
    without_section_marks,
)

TEXT = "{text}"
_CONTEXT = "{context}"
_MARK = re.compile(r"\{([A-Za-z_]+(?::[A-Za-z][A-Za-z0-9-]*)?)\}")
"""A word in braces is a mark; braces around anything else are text."""
_KNOWN = re.compile(
    r"text|context|term|translation|(?:source|target)(?:_code|_name(?::[A-Za-z][A-Za-z0-9-]*)?)?"
)
KNOWN_MARKS = (
    "text", "context", "term", "translation", "source", "target", "source_name", "target_name", "source_code",
    "target_code",
)  # fmt: skip
_SLOT = re.compile(rf"\{{(text|{CONTEXT}|{TERMS})\}}")
_OF_TERM = re.compile(r"\{(term|translation)\}")


class NamedLanguage(Protocol):
    """What marks need of :class:`protocol.translation_spec.Language`."""

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


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """A template of one language pair and of the sections that a prompt has, without what callers send."""

    literals: tuple[str, ...]
    """The template's own text before, between and after what callers send: one more than :attr:`slots`."""
    slots: tuple[str, ...]
    """What stands between them: ``text`` once, ``context`` and ``terms`` at most once each."""
    term: str = ""
    """The line of one term, with the marks ``{term}`` and ``{translation}``."""

    def term_lines(self, terms: Collection[tuple[str, str]]) -> str:
        """What stands in the place of ``terms``, pairs of a term and its translation."""

        def line(term: str, translation: str) -> str:
            return _OF_TERM.sub(lambda mark: term if mark.group(1) == "term" else translation, self.term)

        return "".join(line(*each) for each in terms)


def unknown_marks(template: str) -> list[str]:
    """Marks of a template that nothing stands for, without braces."""
    return [mark for mark in _MARK.findall(template) if not _KNOWN.fullmatch(mark)]


def literal_parts(template: str) -> list[str]:
    """The text of a template between its marks."""
    return [
        part
        for text in without_section_marks(template)
        for at, part in enumerate(_MARK.split(text))
        if at % 2 == 0
    ]


def named_in(template: str) -> set[str]:
    """Tags of the languages in which a template writes names of languages."""
    return {mark.partition(":")[2] for mark in _MARK.findall(template) if ":" in mark}


def faults_of_slots(template: str) -> Iterator[str]:
    """What is wrong with the places of a template for what callers send, each as the end of a sentence."""
    try:
        sets = list(present_sets(template))
    except SectionError as fault:
        yield str(fault)
        return
    prompts = [(shown(template, present), present) for present in sets]
    if any(prompt.count(TEXT) != 1 for prompt, _ in prompts):
        yield f"must hold {TEXT} exactly once, whatever sections a prompt has"
    for name, mark in ((CONTEXT, _CONTEXT), (TERMS, TERM_LINES)):
        written = "{#term}" if name == TERMS else mark
        if any(prompt.count(mark) != (name in present) for prompt, present in prompts):
            yield f"must hold {written} once within {{#{name}}}, and nowhere else"
    if _OF_TERM.search("".join(prompt for prompt, _ in prompts)):
        yield "must hold {term} and {translation} within {#term} alone"
    names = section_names(template)
    if FORMALITY in names and names.isdisjoint((FORMAL, INFORMAL)):
        yield "has a section formality, but neither {#formal} nor {#informal}"


def filled_template(
    template: str,
    source: tuple[str, NamedLanguage],
    target: tuple[str, NamedLanguage],
    present: Collection[str] = (),
) -> FilledTemplate:
    """A template with names in the place of the marks of languages.

    Args:
        template: without faults.
        source: code and description of the source language.
        target: the same of the target language.
        present: names of the sections that the prompt has.
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

    pieces = _SLOT.split(shown(template, present))
    return FilledTemplate(
        literals=tuple(_MARK.sub(fill, each) for each in pieces[::2]),
        slots=tuple(pieces[1::2]),
        term=_MARK.sub(fill, term_line(template)),
    )
