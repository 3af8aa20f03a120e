"""Finds placeholders, which must survive translation byte for byte; checks that they did; masks them. Pure.

The first attempt translates the text as it is, because a model that copies codes by itself does best on what it was
trained on. :func:`loses_placeholder` checks the answer. Only if something is missing, the text is masked
(:func:`masked_forms`), translated once more and unmasked (:func:`unmask`); what is still lost is flagged. Terms of a
glossary are masked in the same way. :mod:`transformer.generation.attempts` decides which attempts are made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transformer.texts.scripts import has_letters
from transformer.texts.terms import Term, overlapping

_UNITS = (
    r"mAh|kWh|Wh|GHz|MHz|kHz|Hz|GB|TB|MB|KB|ml|mL|cl|dl|kg|mg|lbs?|oz|km|cm|mm|nm|in|ft|kW|"
    r"[gmlLVWA]|毫升|升|公斤|千克|毫克|克|厘米|毫米|公里|米|英寸|伏|瓦|毫安时"
)
_ENDING = r"(?![A-Za-z0-9])"

_KINDS = re.compile(
    r"(?P<template>\{\{[^{}\n]{1,64}\}\}|\$\{[^{}\n]{1,64}\}|\{[A-Za-z0-9_.:!-]{0,64}\}"
    rf"|(?<![\d%])%(?:\(\w{{1,64}}\)|\d{{1,2}}\$)?[-+#0]?\d{{0,3}}(?:\.\d{{1,3}})?[sdifgxXeEcu@]{_ENDING})"
    r"|(?P<url>(?:https?|ftp)://[^\s<>\"'，。；！？（）【】「」\u4e00-\u9fff]{1,2000}[^\s<>\"'，。；！？（）【】「」\u4e00-\u9fff.,;:!?)\]}])"
    r"|(?P<email>(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8})"
    rf"|(?P<quantity>(?<![A-Za-z0-9.])\d{{1,12}}(?:[.,]\d{{1,6}})?\s?(?:{_UNITS})(?![A-Za-z0-9]))"
    r"|(?P<code>(?<![A-Za-z0-9])(?:[A-Z][A-Za-z]{0,15}[-_/]?(?=[A-Za-z0-9_/-]{0,24}\d\d)[A-Z0-9]{1,24}"
    rf"(?:[-_/][A-Z0-9]{{1,24}}){{0,6}}|\d{{6,32}}){_ENDING})"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MAY_HOLD_SOME = re.compile(r"[{%@]|://")
_NOT_WORDS = frozenset({"template", "url", "email"})

_MASKS = (("QX", "ZK", "XJ"), ("739100", "584600", "261900"))
"""Stems of two kinds of mask: model codes and order numbers. Which kind a model copies depends on the context. A stem
that occurs in the text is not used. Two digits after the stem number the masks."""
MAX_MASKS = 90
"""A text with more spans is verified, but not masked."""

_SAMPLE_CHARACTERS = 20_000
"""Characters of a text that its language is detected from. Detection takes up to 0.9 us for each."""


@dataclass(frozen=True, slots=True)
class ProtectedSpan:
    """A span of a text that must be in its translation, too."""

    kind: str
    start: int
    end: int
    text: str

    @property
    def required_text(self) -> str:
        """The text that the answer must contain. Of a quantity only the number: its unit may be translated."""
        if self.kind == "quantity":
            found = _NUMBER.match(self.text)
            return found.group() if found else self.text
        return self.text


@dataclass(frozen=True, slots=True)
class MaskedText:
    """A text with codes in place of its protected spans."""

    text: str
    originals: tuple[tuple[str, str], ...]
    """(mask, original text), in the text's order."""


def protected_spans(text: str, terms: Sequence[Term] = ()) -> list[ProtectedSpan]:
    """All protected spans of ``text`` that are not ``terms``, in order and without overlap.

    Args:
        text: any text.
        terms: occurrences of glossary entries, as :func:`drop_conflicting_terms` returns them.
    """
    found = [
        ProtectedSpan(str(found.lastgroup), found.start(), found.end(), found.group())
        for found in _KINDS.finditer(text)
    ]
    if not terms:
        return found
    narrow = [_narrowed(each, terms) for each in found]
    return [each for each in narrow if not overlapping(terms, each.start, each.end)]


def drop_conflicting_terms(text: str, terms: Sequence[Term]) -> tuple[Term, ...]:
    """``terms`` without those that lie inside a placeholder of ``text``, or overlap part of one.

    A term that contains a whole placeholder, or the unit of a quantity, has priority over it.
    """
    found = [_narrowed(each, terms) for each in protected_spans(text)]
    cut = {
        term
        for each in found
        for term in overlapping(terms, each.start, each.end)
        if not term.start <= each.start <= each.end <= term.end
    }
    return tuple(term for term in terms if term not in cut)


def loses_placeholder(source: str, answer: str, terms: Sequence[Term] = ()) -> bool:
    """Whether a protected span of ``source`` occurs in ``answer`` less often than in ``source``.

    Args:
        source: the text that was translated.
        answer: its translation.
        terms: occurrences of glossary entries in ``source``; they are not checked here.
    """
    wanted = Counter(each.required_text for each in protected_spans(source, terms))
    return any(answer.count(text) < count for text, count in wanted.items())


def without_placeholders(text: str) -> str:
    """``text`` without spans that have letters but no language: placeholders, URLs, addresses."""
    if not _MAY_HOLD_SOME.search(text):
        return text
    return _KINDS.sub(lambda found: "" if found.lastgroup in _NOT_WORDS else found.group(), text)


def detection_sample(text: str) -> str:
    """``text`` without placeholders: of a long text the first part of it that has letters, or nothing."""
    if len(text) <= _SAMPLE_CHARACTERS:
        return without_placeholders(text)
    for start in range(0, len(text), _SAMPLE_CHARACTERS):
        part = without_placeholders(text[start : start + _SAMPLE_CHARACTERS])
        if has_letters(part):
            return part
    return ""


def masked_forms(text: str, terms: Sequence[Term] = ()) -> list[MaskedText]:
    """``text`` with a short code in place of each protected span and each term; one form for each kind of mask.

    The kind that models copy more often comes first. Empty if there is nothing, or too much, to mask.
    """
    spans = [
        *protected_spans(text, terms),
        *(ProtectedSpan("term", t.start, t.end, t.required_text) for t in terms),
    ]
    spans.sort(key=lambda span: span.start)
    if not 0 < len(spans) <= MAX_MASKS:
        return []
    chosen = (next((stem for stem in stems if stem not in text), None) for stems in _MASKS)
    return [_masked(text, spans, stem) for stem in chosen if stem is not None]


def unmask(answer: str, masked: MaskedText) -> str | None:
    """``answer`` with each mask replaced by its original text; None unless each occurs exactly once."""
    originals = dict(masked.originals)
    if any(answer.count(code) != 1 for code in originals):
        return None
    codes = re.compile("|".join(re.escape(code) for code in originals))
    return codes.sub(lambda found: originals[found.group()], answer)


def _narrowed(each: ProtectedSpan, terms: Sequence[Term]) -> ProtectedSpan:
    """The span; of a quantity that a term overlaps only its number, because the unit may be the term."""
    if each.kind != "quantity" or not overlapping(terms, each.start, each.end):
        return each
    number = each.required_text
    return ProtectedSpan(each.kind, each.start, each.start + len(number), number)


def _masked(text: str, spans: Sequence[ProtectedSpan], stem: str) -> MaskedText:
    parts: list[str] = []
    originals: list[tuple[str, str]] = []
    end = 0
    for number, span in enumerate(spans, start=10):
        parts += [text[end : span.start], f"{stem}{number}"]
        originals.append((f"{stem}{number}", span.text))
        end = span.end
    return MaskedText("".join([*parts, text[end:]]), tuple(originals))
