"""Where terms stand in a text, and what a translation made of them. Pure; whose they are, the glossary knows.

A term in lower case, or of a script without case, matches in any case; one with a capital letter matches as it is
written. It does not begin or end inside a word of a script that sets words apart. Any white space in a text matches
the single space of a term.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from protocol.glossary import normalize_term
from transformer.texts.scripts import is_spaced_letter

_UNEVEN_SPACE = re.compile(r"[^\S ]|  ")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Term:
    """One place in a text that a glossary's entry concerns."""

    start: int
    end: int
    text: str
    """As it stands there."""
    target: str | None
    """Its translation; None keeps it."""

    @property
    def is_kept(self) -> bool:
        """Whether it must stand in the translation as it stands in the text, its case included."""
        return self.target is None

    @property
    def required_text(self) -> str:
        """What the translation must hold."""
        return self.text if self.target is None else self.target


@dataclass(frozen=True, slots=True)
class TermMatch:
    """One place where a term stands."""

    start: int
    end: int
    number: int
    """Of the term in its index."""


class TermIndex:
    """Terms, made ready to be found in texts."""

    def __init__(self, terms: Sequence[str], *, exact: Sequence[bool] = ()) -> None:
        """Take in terms as :func:`protocol.glossary.normalize_term` returns them, all different.

        Args:
            terms: what is looked for.
            exact: for each term, whether it matches as it is written only, even in lower case; empty for none.
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

    def find(self, text: str, taken: Sequence[Term | TermMatch] = ()) -> Iterator[TermMatch]:
        """Places in ``text``, from left to right and without overlap; the longest of those that begin at one place.

        A term that is written as it stands in the text goes before one that matches in any case.

        Args:
            text: any text.
            taken: spans that are taken, in order and without overlap; no place shares a character with it.
        """
        if self._firsts is None:
            return
        even, places = _collapse_spaces(text)
        folded, at = _casefold_same_length(even), 0
        while (first := self._firsts.search(folded, at)) is not None:
            at = first.start() + 1
            for length in self._lengths[first.group()]:
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
    """Of a :class:`Term` or :class:`TermMatch`."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


_SpanT = TypeVar("_SpanT", bound=_Span)


def overlapping(places: Sequence[_SpanT], start: int, end: int) -> Sequence[_SpanT]:
    """Those of ``places``, which are in order and do not overlap, that share a character with this range."""
    first = bisect_right(places, start, key=lambda place: place.end)
    return places[first : bisect_left(places, end, lo=first, key=lambda place: place.start)]


def missing_terms(terms: Sequence[Term], answer: str) -> list[Term]:
    """Those of ``terms`` whose words stand in ``answer`` less often than they call for them."""
    wanted, found, _ = _required_and_found(terms, answer)
    few = {text for text, count in wanted.items() if found[text] < count}
    return [term for term in terms if normalize_term(term.required_text) in few]


def replace_renderings(terms: Sequence[Term], answer: str, renderings: Mapping[str, str]) -> str | None:
    """``answer`` with what is missing of ``terms`` in the place of the model's own renderings of them.

    Args:
        terms: what a glossary calls for.
        answer: a translation that lacks some of it.
        renderings: what the model makes of each missing term alone, by :attr:`Term.text`.

    Returns:
        None unless the renderings stand in ``answer`` just as often as something is missing. One of a single
        character may be a part of another word, and stands for nothing.
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


def without_terms(terms: Sequence[Term], answer: str) -> str:
    """``answer`` without what ``terms`` call for."""
    index, _ = _index_of(terms)
    return without_spans(answer, [(each.start, each.end) for each in index.find(answer)])


def without_spans(text: str, places: Sequence[tuple[int, int]]) -> str:
    """``text`` without the ranges ``places``, which are in order and do not overlap."""
    starts = [0, *(end for _, end in places)]
    ends = [*(start for start, _ in places), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _index_of(terms: Sequence[Term]) -> tuple[TermIndex, list[str]]:
    """What ``terms`` call for, to be found in a translation."""
    exact: dict[str, bool] = {}
    for term in terms:
        text = normalize_term(term.required_text)
        exact[text] = exact.get(text, False) or term.is_kept
    return TermIndex(list(exact), exact=list(exact.values())), list(exact)


def _required_and_found(
    terms: Sequence[Term], answer: str
) -> tuple[Counter[str], Counter[str], list[TermMatch]]:
    """How often each text that ``terms`` call for is wanted, how often it is there, and where all of them stand."""
    wanted = Counter(normalize_term(term.required_text) for term in terms)
    index, texts = _index_of(terms)
    places = list(index.find(answer))
    return wanted, Counter(texts[place.number] for place in places), places


def _is_whole_word(text: str, start: int, end: int) -> bool:
    if end < len(text) and unicodedata.category(text[end])[0] == "M":
        return False  # the mark belongs to the last letter, which without it is another one
    return not (_is_inside_word(text, start) or _is_inside_word(text, end))


def _is_inside_word(text: str, place: int) -> bool:
    """Whether the characters on both sides of ``place`` are of one word."""
    return 0 < place < len(text) and is_spaced_letter(text[place - 1]) and is_spaced_letter(text[place])


def _collapse_spaces(text: str) -> tuple[str, Sequence[int]]:
    """``text`` with single spaces, and for each place in it, its end included, the place in ``text``."""
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
    """``text`` without case, of the same length."""
    folded = text.casefold()
    if len(folded) == len(text):  # no character becomes shorter, so none became longer
        return folded
    pairs = zip(text, map(str.casefold, text), strict=True)
    return "".join(each if len(each) == 1 else letter for letter, each in pairs)
