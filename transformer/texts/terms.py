"""Finds glossary terms in texts, and checks that a translation contains what they require. Pure.

A term in lower case, or in a script without case, matches in any case; a term with a capital letter matches only as
written. In scripts that separate words, a match does not begin or end inside a word. Any run of white space in a text
matches the single space of a term.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from protocol.glossary import normalize_term
from transformer.errors import GlossaryTooCostly
from transformer.texts.scripts import is_spaced_letter

_UNEVEN_SPACE = re.compile(r"[^\S ]|  ")
_SPACE = re.compile(r"\s+")
MAX_COMPARISONS = 4_000_000
"""Of a part of a text with a term: a second of CPU."""


@dataclass(frozen=True, slots=True)
class Term:
    """An occurrence of a glossary entry in a text."""

    start: int
    end: int
    text: str
    """The matched text, as written there."""
    target: str | None
    """The required translation; None if the term must be kept as it is."""
    is_placeholder: bool = field(default=False, kw_only=True)
    """Whether it is a match of one of the caller's own expressions."""

    @property
    def is_kept(self) -> bool:
        """Whether the translation must contain the matched text itself, in the same case."""
        return self.target is None

    @property
    def required_text(self) -> str:
        """The text that the translation must contain."""
        return self.text if self.target is None else self.target


@dataclass(frozen=True, slots=True)
class TermMatch:
    """An occurrence of a term of a :class:`TermIndex`."""

    start: int
    end: int
    number: int
    """Position of the term in its index."""


class SearchBudget:
    """Limit of comparisons for finding the terms of one request."""

    def __init__(self, comparisons: int = MAX_COMPARISONS) -> None:
        self._limit = self._left = comparisons

    def spend(self, comparisons: int) -> None:
        """Raise GlossaryTooCostly if there were too many with these."""
        self._left -= comparisons
        if self._left < 0:
            raise GlossaryTooCostly(self._limit)


class TermIndex:
    """An index of terms, to find them in texts."""

    def __init__(self, terms: Sequence[str], *, exact: Sequence[bool] = ()) -> None:
        """Build the index.

        Args:
            terms: distinct, each as :func:`protocol.glossary.normalize_term` returns it.
            exact: for each term, whether it matches only as written, even in lower case; empty for none.
        """
        self._by_folded: dict[str, list[tuple[int, str | None]]] = {}
        for number, term in enumerate(terms):
            folded = _casefold_same_length(term)
            cased = bool(exact and exact[number]) or term.lower() != term
            self._by_folded.setdefault(folded, []).append((number, term if cased else None))
        for entries in self._by_folded.values():
            entries.sort(key=lambda entry: entry[1] is None)
        lengths: dict[str, set[int]] = {}
        for folded in self._by_folded:
            lengths.setdefault(folded[0], set()).add(len(folded))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        self._firsts = re.compile(f"[{re.escape(''.join(lengths))}]") if lengths else None

    def find(
        self, text: str, taken: Sequence[Term | TermMatch] = (), budget: SearchBudget | None = None
    ) -> Iterator[TermMatch]:
        """Matches in ``text``, from left to right, without overlap; the longest of those that begin together.

        A term that equals the text in case, too, is preferred to one that matches in any case.

        Args:
            text: any text.
            taken: spans that are taken, in order and without overlap; no place shares a character with it.
            budget: what the search may cost; None for any.

        Raises:
            GlossaryTooCostly: the budget is used up.
        """
        if self._firsts is None:
            return
        even, places = _collapse_spaces(text)
        folded, at = _casefold_same_length(even), 0
        while (first := self._firsts.search(folded, at)) is not None:
            at = first.start() + 1
            if _is_inside_word(even, first.start()):
                continue
            lengths = self._lengths[first.group()]
            if budget is not None:
                budget.spend(len(lengths))
            for length in lengths:
                end = first.start() + length
                number = self._match(even, folded, first.start(), end)
                if number is not None and not overlapping(taken, places[first.start()], places[end]):
                    yield TermMatch(places[first.start()], places[end], number)
                    at = end
                    break

    def _match(self, even: str, folded: str, start: int, end: int) -> int | None:
        if end > len(even):
            return None
        for number, term in self._by_folded.get(folded[start:end], ()):
            if term in (None, even[start:end]) and _is_whole_word(even, start, end):
                return number
        return None


class _Span(Protocol):
    """What :class:`Term` and :class:`TermMatch` have in common."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


_SpanT = TypeVar("_SpanT", bound=_Span)


def overlapping(places: Sequence[_SpanT], start: int, end: int) -> Sequence[_SpanT]:
    """The spans that share a character with a range.

    Args:
        places: spans in order, without overlap.
        start: first character of the range.
        end: after its last character.
    """
    first = bisect_right(places, start, key=lambda place: place.end)
    return places[first : bisect_left(places, end, lo=first, key=lambda place: place.start)]


def missing_terms(terms: Sequence[Term], answer: str) -> list[Term]:
    """The terms whose required text occurs in ``answer`` less often than they require."""
    if not terms:
        return []
    wanted, found, _ = _required_and_found(terms, answer)
    few = {text for text, count in wanted.items() if found[text] < count}
    return [term for term in terms if normalize_term(term.required_text) in few]


def replace_renderings(terms: Sequence[Term], answer: str, renderings: Mapping[str, str]) -> str | None:
    """``answer`` with the model's own renderings of missing terms replaced by their required text.

    Args:
        terms: occurrences of glossary entries in the source text.
        answer: a translation that lacks some of them.
        renderings: the model's translation of each missing term alone, by :attr:`Term.text`.

    Returns:
        None unless the renderings occur in ``answer`` exactly as often as terms are missing. A rendering of one
        character is never replaced, because it may be part of another word.
    """
    _, found, places = _required_and_found(terms, answer)
    targets: dict[str, str] = {}
    lacking: Counter[str] = Counter()
    for term in missing_terms(terms, answer):
        target = normalize_term(term.required_text)
        rendering = normalize_term(renderings.get(term.text, "")).lower()
        if len(rendering) < 2 or targets.setdefault(rendering, target) != target:
            return None
        lacking[rendering] += 1
    for rendering, target in targets.items():
        lacking[rendering] -= found[target]
    index = TermIndex(list(targets))
    known = list(targets)
    put = list(index.find(answer, places))
    if Counter(known[each.number] for each in put) != lacking:
        return None
    parts: list[str] = []
    end = 0
    for each in put:
        parts += [answer[end : each.start], targets[known[each.number]]]
        end = each.end
    return "".join([*parts, answer[end:]])


def places_of_terms(terms: Sequence[Term], answer: str) -> list[Term]:
    """The occurrences in ``answer`` of the required texts of ``terms``."""
    index, _ = _index_of(terms)
    return [Term(each.start, each.end, answer[each.start : each.end], None) for each in index.find(answer)]


def without_terms(terms: Sequence[Term], answer: str) -> str:
    """``answer`` without the required text of ``terms``."""
    index, _ = _index_of(terms)
    return without_spans(answer, [(each.start, each.end) for each in index.find(answer)])


def without_spans(text: str, places: Sequence[tuple[int, int]]) -> str:
    """``text`` without the ranges ``places`` (start, end), which are in order and do not overlap."""
    starts = [0, *(end for _, end in places)]
    ends = [*(start for start, _ in places), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _index_of(terms: Sequence[Term]) -> tuple[TermIndex, list[str]]:
    """An index of the required texts of ``terms``, and these texts in the index's order."""
    exact: dict[str, bool] = {}
    for term in terms:
        text = normalize_term(term.required_text)
        exact[text] = exact.get(text, False) or term.is_kept
    return TermIndex(list(exact), exact=list(exact.values())), list(exact)


def _required_and_found(
    terms: Sequence[Term], answer: str
) -> tuple[Counter[str], Counter[str], list[TermMatch]]:
    """For each required text how often it is required and how often it occurs in ``answer``; and all occurrences."""
    wanted = Counter(normalize_term(term.required_text) for term in terms)
    index, texts = _index_of(terms)
    places = list(index.find(answer))
    return wanted, Counter(texts[place.number] for place in places), places


def _is_whole_word(text: str, start: int, end: int) -> bool:
    if end < len(text) and unicodedata.category(text[end])[0] == "M":
        return False  # a combining mark changes the last letter of the match
    return not (_is_inside_word(text, start) or _is_inside_word(text, end))


def _is_inside_word(text: str, place: int) -> bool:
    """Whether the characters on both sides of ``place`` belong to one word."""
    return 0 < place < len(text) and is_spaced_letter(text[place - 1]) and is_spaced_letter(text[place])


def _collapse_spaces(text: str) -> tuple[str, Sequence[int]]:
    """``text`` with single spaces, and the offset in ``text`` of each of its characters and of its end."""
    if not _UNEVEN_SPACE.search(text):
        return text, range(len(text) + 1)
    parts: list[str] = []
    places: list[int] = []
    at = 0
    for space in _SPACE.finditer(text):
        parts += [text[at : space.start()], " "]
        places += range(at, space.start() + 1)
        at = space.end()
    return "".join([*parts, text[at:]]), [*places, *range(at, len(text) + 1)]


def _casefold_same_length(text: str) -> str:
    """``text`` case-folded, without changing its length."""
    folded = text.casefold()
    if len(folded) == len(text):  # no character becomes shorter by folding, so none became longer
        return folded
    pairs = zip(text, map(str.casefold, text), strict=True)
    return "".join(each if len(each) == 1 else letter for letter, each in pairs)
