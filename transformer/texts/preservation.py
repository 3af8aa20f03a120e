"""Checks that a translation has everything of its text that must survive. Pure.

Placeholders are found on both sides by the same expressions, as whole tokens, and compared as multisets: none may be
missing, and none may be added. Numbers are compared by value (:mod:`transformer.texts.numbers`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from transformer.texts.numbers import changes_numbers
from transformer.texts.placeholders import ProtectedSpan, drop_conflicting_terms, protected_spans
from transformer.texts.terms import Term, places_of_terms

_STRICT = frozenset({"template", "url", "email", "uuid"})
"""Kinds of which a translation may not add any; a code may come of words (`T 500` -> `T500`)."""
_CODES = frozenset({"code", "version"})
_UNNUMBERED = re.compile(r"%(?!\d+\$|%|\()[-+#0,' ]{0,3}[\d*.]{0,7}(?:hh?|ll?|[zjtLq])?[dsifgGxXeEuop@c]\Z")
"""Conversions of printf whose arguments are taken in order."""
_NOTHING_CHANGED = frozenset[str]()
_NUMBER_CHANGED = frozenset({"number"})
_VARIATION_SELECTOR = "\ufe0f"
_BLANK = "\0"
"""Stands for what is no number. White space would join the numbers beside it."""


def changed_kinds(
    source: str, answer: str, terms: Sequence[Term] = (), languages: tuple[str, str] = ("und", "und")
) -> frozenset[str]:
    """What ``answer`` changed: of `placeholder`, `number` and `emoji`.

    Args:
        source: the text that was translated.
        answer: its translation.
        terms: occurrences of glossary entries in ``source``; they are not checked here.
        languages: BCP 47 tags of ``source`` and of ``answer``, for numbers in words.
    """
    answer_terms = drop_conflicting_terms(answer, places_of_terms(terms, answer)) if terms else ()
    read, written = protected_spans(source, terms), protected_spans(answer, answer_terms)
    if not (read or written or terms):  # most texts
        return _NUMBER_CHANGED if changes_numbers(source, answer, *languages) else _NOTHING_CHANGED
    codes = [each for each in read if each.kind in _CODES and not each.text.isdigit()]
    known = {each.text for each in codes}
    said = _blanked(source, [*terms, *(each for each in read if each.kind in _STRICT or each in codes)])
    put = [each for each in written if each.kind in _STRICT or each.text in known]
    changed = {
        "emoji": _emoji(read) != _emoji(written),
        "placeholder": _changes_placeholders(read, written) or _changes_codes(codes, written, answer),
        "number": changes_numbers(said, _blanked(answer, [*answer_terms, *put]), *languages),
    }
    return frozenset(kind for kind, is_changed in changed.items() if is_changed)


def _changes_placeholders(read: Sequence[ProtectedSpan], written: Sequence[ProtectedSpan]) -> bool:
    """Whether one was added or lost, or unnumbered ones of printf are in another order."""
    ours, theirs = ([each.text for each in spans if each.kind in _STRICT] for spans in (read, written))
    if ours == theirs:
        return False
    return Counter(ours) != Counter(theirs) or list(filter(_UNNUMBERED.match, ours)) != list(
        filter(_UNNUMBERED.match, theirs)
    )


def _changes_codes(codes: Sequence[ProtectedSpan], written: Sequence[ProtectedSpan], answer: str) -> bool:
    """Whether the answer has one of ``codes`` more or less often, as a whole token."""
    if not codes:
        return False
    found = Counter(each.text for each in written if each.kind in _CODES)
    wanted = Counter(each.text for each in codes)
    return any(found[code] != count and _count_whole(code, answer) != count for code, count in wanted.items())


def _emoji(spans: Sequence[ProtectedSpan]) -> list[str]:
    return sorted(each.text.replace(_VARIATION_SELECTOR, "") for each in spans if each.kind == "emoji")


def _count_whole(code: str, answer: str) -> int:
    whole = rf"(?<![A-Za-z0-9])(?<![A-Za-z0-9][-_/]){re.escape(code)}(?![-_/]?[A-Za-z0-9])"
    return len(re.findall(whole, answer))


def _blanked(text: str, spans: Sequence[ProtectedSpan | Term]) -> str:
    """``text`` with a mark in place of each of ``spans``."""
    if not spans:
        return text
    parts: list[str] = []
    end = 0
    for span in sorted(spans, key=lambda each: each.start):
        parts += [text[end : span.start], _BLANK]
        end = span.end
    return "".join([*parts, text[end:]])
