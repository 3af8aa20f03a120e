"""Finds the entries of glossaries that apply to a text. Pure.

A request's own entries go before the release's: where one of them stands, none of the release's does. Otherwise the
first and longest wins (:mod:`transformer.texts.terms`). An answer is first made of the text as it is; what it did not
keep to is masked for a second attempt, and verified again (:mod:`transformer.texts.placeholders`,
:mod:`transformer.generation.attempts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.errors import InvalidRequest
from protocol.glossary import ReleaseGlossary
from protocol.messages import Glossary
from protocol.release_documents import ReleaseError
from transformer.texts.placeholders import drop_conflicting_terms
from transformer.texts.terms import SearchBudget, Term, TermIndex


class GlossaryConflictError(Exception):
    """Two entries of one glossary conflict. The message names them by their positions, from 0."""


@dataclass(frozen=True, slots=True)
class GlossaryIndex:
    """An index of one glossary, to find its entries in texts."""

    index: TermIndex
    targets: tuple[str | None, ...]
    """Required translation of each term of the index; None if the term is kept."""

    @classmethod
    def of(cls, glossary: Glossary, budget: SearchBudget | None = None) -> GlossaryIndex:
        """Index a glossary.

        Raises:
            GlossaryConflictError: a term has two translations, or a kept term would be translated.
            GlossaryTooCostly: finding the kept terms in the others takes more than ``budget``.
        """
        places: dict[str, int] = {}
        for number, (source, target) in enumerate(glossary.terms):
            first = places.setdefault(source, number)
            if glossary.terms[first][1] != target:
                raise GlossaryConflictError(
                    f"terms[{first}] and terms[{number}] are one term with two translations; leave one of them"
                )
        _check_kept(glossary, budget)
        targets = {**dict.fromkeys(glossary.keep), **dict(glossary.terms)}
        return cls(TermIndex(list(targets)), tuple(targets.values()))

    def find(self, text: str, taken: Sequence[Term] = (), budget: SearchBudget | None = None) -> list[Term]:
        """Find the entries' occurrences in a text.

        Args:
            text: to search.
            taken: terms found before; occurrences share no character with them.
            budget: of the search; None: unbounded.
        """
        return [
            Term(found.start, found.end, text[found.start : found.end], self.targets[found.number])
            for found in self.index.find(text, taken, budget)
        ]


EMPTY_GLOSSARY = GlossaryIndex(TermIndex([]), ())


class GlossaryMatcher:
    """Finds entries of a request's glossary and of its release's; the request's have priority."""

    def __init__(
        self,
        release: Mapping[tuple[str, str], GlossaryIndex],
        request: GlossaryIndex = EMPTY_GLOSSARY,
        budget: SearchBudget | None = None,
    ) -> None:
        self._release = release
        self._request = request
        self._budget = budget

    @classmethod
    def of_release(cls, glossary: ReleaseGlossary) -> GlossaryMatcher:
        """Index a release's ``glossary.json``.

        Raises:
            ReleaseError: entries of it conflict.
        """
        entries = {}
        for (source, target), each in glossary.pairs.items():
            try:
                entries[source, target] = GlossaryIndex.of(each)
            except GlossaryConflictError as error:
                raise ReleaseError(f"glossary.json, {source} to {target}: {error}") from error
        return cls(entries)

    def with_request(self, glossary: Glossary | None) -> GlossaryMatcher:
        """A matcher for one request, which has the request's glossary with priority and a budget.

        Raises:
            InvalidRequest: entries of the request's glossary conflict.
            GlossaryTooCostly: checking them takes more than the budget.
        """
        if glossary is None and not self._release:
            return self
        budget = SearchBudget()
        try:
            request = EMPTY_GLOSSARY if glossary is None else GlossaryIndex.of(glossary, budget)
            return GlossaryMatcher(self._release, request, budget)
        except GlossaryConflictError as error:
            raise InvalidRequest(f"parameter glossary contradicts itself: {error}") from None

    def terms(self, text: str, source: str, target: str) -> tuple[Term, ...]:
        """The entries' occurrences in ``text``, in order and without overlap.

        Inside a placeholder, URL or address there is no match; a term that contains a whole code does match.

        Args:
            text: normal text.
            source: language tag of ``text``, as the release writes it.
            target: language tag of the translation.

        Raises:
            GlossaryTooCostly: the request's budget is used up.
        """
        if not self._release and self._request is EMPTY_GLOSSARY:
            return ()
        own = self._request.find(text, budget=self._budget)
        found = own + self._release.get((source, target), EMPTY_GLOSSARY).find(text, own, self._budget)
        return drop_conflicting_terms(text, sorted(found, key=lambda term: term.start)) if found else ()


NO_GLOSSARY = GlossaryMatcher({})


def _check_kept(glossary: Glossary, budget: SearchBudget | None) -> None:
    """Raise unless the translation of each term contains the kept terms that the term contains."""
    keep = list(dict.fromkeys(glossary.keep))
    kept = TermIndex(keep)
    for number, (source, target) in enumerate(glossary.terms):
        for found in kept.find(source, budget=budget):
            if source[found.start : found.end] not in target:
                raise GlossaryConflictError(
                    f"terms[{number}] holds keep[{glossary.keep.index(keep[found.number])}] and its translation does "
                    "not; leave one of them, or keep it in the translation as well"
                )
