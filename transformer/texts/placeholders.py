"""Finds placeholders, which must survive translation byte for byte, and masks them. Pure.

The first attempt translates the text as it is, because a model that copies codes by itself does best on what it was
trained on. :mod:`transformer.texts.preservation` checks the answer. Only if something is missing, the text is masked
(:func:`masked_forms`), translated once more and unmasked (:func:`unmask`); what is still lost is flagged. Terms of a
glossary are masked in the same way. :mod:`transformer.generation.attempts` decides which attempts are made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformer.texts.numbers import number_places
from transformer.texts.patterns import find_protected
from transformer.texts.terms import Term, overlapping

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

_MASKS = (("QX", "ZK", "XJ"), ("739100", "584600", "261900"))
"""Stems of two kinds of mask: model codes and order numbers. Which kind a model copies depends on the context. A stem
that occurs in the text is not used. Two digits after the stem number the masks."""
MAX_MASKS = 90
"""A text with more spans is verified, but not masked."""


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
    found = [ProtectedSpan(kind, start, end, text[start:end]) for kind, start, end in find_protected(text)]
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


def masked_forms(text: str, terms: Sequence[Term] = (), *, numbers: bool = False) -> list[MaskedText]:
    """``text`` with a short code in place of each protected span and each term; one form for each kind of mask.

    The kind that models copy more often comes first. Empty if there is nothing, or too much, to mask.

    Args:
        text: any text.
        terms: occurrences of glossary entries in ``text``.
        numbers: whether numbers are masked as well.
    """
    spans = [
        *protected_spans(text, terms),
        *(ProtectedSpan("term", t.start, t.end, t.required_text) for t in terms),
    ]
    spans.sort(key=lambda span: span.start)
    if numbers:
        spans += [
            ProtectedSpan("number", start, end, text[start:end])
            for start, end in number_places(text)
            if not overlapping(spans, start, end)
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
