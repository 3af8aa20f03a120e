"""The optional sections of a prompt template, such as ``{#context}...{/context}``. Pure.

The notation is Mustache's: ``{#name}`` begins text that a prompt has if there is a ``name``, ``{^name}`` text that
it has if there is none, ``{/name}`` ends both. A section may hold others. ``{#term}`` is repeated, once for each
glossary entry that applies to the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from protocol.suggestions import did_you_mean

TERMS, TERM, CONTEXT = "terms", "term", "context"
FORMALITY, FORMAL, INFORMAL = "formality", "formal", "informal"
TAGS = "tags"
"""Of texts with tags in the form of the release; no other section is there then."""
SECTIONS = (TERMS, TERM, CONTEXT, FORMALITY, FORMAL, INFORMAL, TAGS)
TERM_LINES = "{terms}"
"""What :func:`shown` writes where the repeated section stood."""

_MARK = re.compile(r"\{([#^/])([A-Za-z_]+)\}")


class SectionError(ValueError):
    """The sections of a template do not fit together; the message says how to mend it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a template that some prompts have."""

    name: str
    is_inverted: bool
    """Whether prompts have it that lack what it is named after."""
    parts: tuple[TemplatePart, ...]
    text: str
    """What stands between its marks."""

    def is_shown(self, present: Collection[str]) -> bool:
        """Whether a prompt has it.

        Args:
            present: names of sections that there is something for.
        """
        return (self.name in present) is not self.is_inverted


TemplatePart = str | Section


@lru_cache(maxsize=256)
def parse_sections(template: str) -> tuple[TemplatePart, ...]:
    """The text of a template and its sections, in order.

    Raises:
        SectionError: a section is unknown, not closed, or stands where it means nothing.
    """
    parts, end = _parse(template, 0, None)
    assert end == len(template)
    return parts


def section_names(template: str) -> frozenset[str]:
    """Names of all sections of a template, inverted ones too."""
    return frozenset(section.name for section in _sections(parse_sections(template)))


def without_section_marks(template: str) -> list[str]:
    """The text of a template between the marks of sections."""
    return _MARK.split(template)[::3]


def shown(template: str, present: Collection[str]) -> str:
    """The template without the sections that a prompt lacks, and without the marks of those that it has.

    Args:
        template: with sections.
        present: names of sections that there is something for.

    Returns:
        :data:`TERM_LINES` stands in place of the repeated section.
    """
    return "".join(_shown(parse_sections(template), present))


def term_line(template: str) -> str:
    """The text of the section that is repeated for each term; empty if there is none."""
    return next((each.text for each in _sections(parse_sections(template)) if each.name == TERM), "")


def present_sets(template: str) -> Iterator[frozenset[str]]:
    """Every set of names that :func:`shown` can be asked for, as far as the template has their sections."""
    names = section_names(template)
    choices: list[list[tuple[str, ...]]] = [
        [(), (TERMS,)] if TERMS in names else [()],
        [(), (CONTEXT,)] if CONTEXT in names else [()],
        [(), *((FORMALITY, each) for each in (FORMAL, INFORMAL) if each in names)],
    ]
    for chosen in product(*choices):
        yield frozenset(name for each in chosen for name in each)
    if TAGS in names:
        yield frozenset((TAGS,))


def _parse(template: str, at: int, name: str | None) -> tuple[tuple[TemplatePart, ...], int]:
    """The parts from ``at`` to the end of the section ``name``, and where its closing mark begins."""
    parts: list[TemplatePart] = []
    while (mark := _MARK.search(template, at)) is not None:
        if mark.start() > at:
            parts.append(template[at : mark.start()])
        kind, found = mark.groups()
        if found not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise SectionError(
                f"has the unknown section {mark.group()}{did_you_mean(found, SECTIONS)}; known are {known}"
            )
        if kind == "/":
            if found != name:
                raise SectionError(f"has {mark.group()} without its beginning: sections end in reverse order")
            return tuple(parts), mark.start()
        inner, end = _parse(template, mark.end(), found)
        if end == len(template):
            raise SectionError(f"has {mark.group()} without its end, {{/{found}}}")
        section = Section(found, kind == "^", inner, template[mark.end() : end])
        _check(section, name)
        parts.append(section)
        at = end + len(f"{{/{found}}}")
    if at < len(template):
        parts.append(template[at:])
    return tuple(parts), len(template)


def _check(section: Section, outer: str | None) -> None:
    if section.name == TERM:
        if outer != TERMS or section.is_inverted:
            raise SectionError("has {#term} outside of {#terms}: it is repeated for each of the terms")
        if any(isinstance(part, Section) for part in section.parts):
            raise SectionError("has a section within {#term}: one line of a term has none")
        if "{term}" not in section.text or "{translation}" not in section.text:
            raise SectionError("has a {#term} that lacks {term} or {translation}")


def _sections(parts: tuple[TemplatePart, ...]) -> Iterator[Section]:
    for part in parts:
        if isinstance(part, Section):
            yield part
            yield from _sections(part.parts)


def _shown(parts: tuple[TemplatePart, ...], present: Collection[str]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif part.name == TERM:
            yield TERM_LINES
        elif part.is_shown(present):
            yield from _shown(part.parts, present)
