"""Checks finished translations for faults (``flags``). Pure.

A flagged answer is generated once more, and is never cached. The release's ``translation.json`` names the checks and
their bounds (:class:`protocol.translation_spec.GuardSpec`). :mod:`transformer.texts.preservation` checks what must
survive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protocol.messages import FinishReason
from protocol.template_marks import literal_parts
from protocol.translation_spec import GUARDS, TranslationSpec
from transformer.texts.patterns import without_wordless
from transformer.texts.preservation import changed_kinds
from transformer.texts.repetition import count_words, repeated_share, units_of
from transformer.texts.scripts import COMPATIBLE_SCRIPTS, is_mostly_in, script_evidence
from transformer.texts.terms import Term, missing_terms, without_spans, without_terms

LENGTH_TOLERANCE_BYTES = 48
"""An answer may exceed the length bounds by this much: the ratio of two very short texts means nothing."""

MAX_UNITS_RATIO = 1.8
UNITS_TOLERANCE = 8.0
"""Words that an answer may have for each of its text's, and beyond them. Of 1,000 references of the demo's, which are
short, the longest has 6.2 beyond."""

MAX_DEVIATIONS = 4.0
"""Standard deviations by which an answer may be longer or shorter than its pair's mean, if the release knows that: of
8,000 references of the demo's grammar in each direction one is beyond, by 0.08."""

REPLACEMENT = "\ufffd"
"""Stands for bytes that are no character."""

PARAPHRASED_SHARE = 0.4
PARAPHRASED_BEYOND = 0.25
"""An answer that repeats itself in this share, and by this much more than its text, repeats in other words."""

NEGLIGIBLE_EVIDENCE = 1.5
"""In words, as :func:`transformer.texts.scripts.script_evidence` counts. A name in another script is no fault."""

MIN_REPEATS = 5
"""A part repeated this often in a row, :data:`MIN_REPEATED_CHARACTERS` or more in all, is a loop."""
MIN_REPEATED_CHARACTERS = 12
MAX_REPEATS = 8
"""Repetitions of a run of tokens after which generation stops. More than :data:`MIN_REPEATS`, so that nearly every
answer that is stopped would have been flagged anyway."""
_CHUNK = 64
"""Characters: the longest part that :data:`_REPEATED` finds."""

_REPEATED = re.compile(rf"(.{{1,64}}?)\1{{{MIN_REPEATS - 1},}}", re.DOTALL)
_CONTROL_FORMS = re.compile(
    r"</?think(?:ing)?>|<\|[a-z0-9_.-]{1,32}\|>|<[｜|][^<>\s]{1,32}[｜|]>", re.IGNORECASE
)
_MIN_TEMPLATE_WORDS = 12
"""In characters. Shorter parts of a template ("to", ":") occur in correct translations, too."""


class Guards:
    """The checks of one release. Stateless."""

    def __init__(self, spec: TranslationSpec) -> None:
        self._bounds = spec.guards
        self._checks = frozenset(spec.guards.checks)
        self._scripts = {
            tag: COMPATIBLE_SCRIPTS.get(language.script, frozenset())
            for tag, language in spec.languages.items()
        }
        self._marks = _prompt_marks(spec)
        self._lengths = {(each.source, each.target): each for each in spec.guards.lengths}

    def flags(
        self,
        source: str,
        answer: str,
        target: str,
        finish_reason: FinishReason,
        terms: Sequence[Term] = (),
        source_language: str = "und",
    ) -> tuple[str, ...]:
        """Kinds of fault in ``answer``, in the order of :data:`protocol.translation_spec.GUARDS`; may be empty.

        Args:
            source: the text that was translated; it contains words.
            answer: its translation, without outer white space.
            target: tag of the language that ``answer`` should be in.
            finish_reason: why its generation ended.
            terms: occurrences of glossary entries in ``source``.
            source_language: tag of the language of ``source``.
        """
        said, written = _without_terms(source, answer, terms)
        found = set(changed_kinds(source, answer, terms, (source_language, target)))
        if not answer:
            found.add("empty")
        else:
            units = units_of(said), units_of(written)
            pair = (source_language, target)
            if self._is_out_of_proportion((said, written), units) or self._is_unlike_pair(
                said, written, pair
            ):
                found.add("ratio")
            if (
                finish_reason is FinishReason.REPETITION
                or is_new_repetition(source, answer)
                or is_new_paraphrase(*units)
            ):
                found.add("repetition")
            if is_wrong_script(without_wordless(written), self._scripts[target]):
                found.add("script")
            if self._leaks(source, answer):
                found.add("leak")
            if REPLACEMENT in answer and REPLACEMENT not in source:
                found.add("replacement")
        if finish_reason is FinishReason.LENGTH:
            found.add("length")
        for term in missing_terms(terms, answer):
            found.add("placeholder" if term.is_placeholder else "glossary")
        return tuple(kind for kind in GUARDS if kind in found and kind in self._checks) if found else ()

    def max_repeats(self, source: str) -> int:
        """Repetitions after which generation for ``source`` is stopped; 0 never stops it."""
        stops = "repetition" in self._checks and not may_repeat(source)
        return MAX_REPEATS if stops else 0

    @property
    def retries(self) -> int:
        """Number of second attempts for a flagged answer: 0 or 1."""
        return self._bounds.retries

    def _is_out_of_proportion(
        self, texts: tuple[str, str], units: tuple[Sequence[str], Sequence[str]]
    ) -> bool:
        """Whether the second of ``texts``, with these units, is too long or too short for the first."""
        read_words, written_words = map(count_words, texts, units)
        if written_words > MAX_UNITS_RATIO * read_words + UNITS_TOLERANCE:
            return True  # a sentence that the text does not have
        # UTF-8 bytes make lengths comparable across scripts: 3 for a Chinese character, 1 for a Latin letter.
        read, written = (len(text.encode()) for text in texts)
        too_long = written > read * self._bounds.max_length_ratio + LENGTH_TOLERANCE_BYTES
        return too_long or written < read * self._bounds.min_length_ratio - LENGTH_TOLERANCE_BYTES

    def _is_unlike_pair(self, source: str, answer: str, pair: tuple[str, str]) -> bool:
        """Whether ``answer`` has a length that translations of this language pair do not have."""
        known = self._lengths.get(pair)
        if known is None:
            return False
        return abs(known.deviations(len(source.encode()), len(answer.encode()))) > MAX_DEVIATIONS

    def _leaks(self, source: str, answer: str) -> bool:
        if any(mark in answer and mark not in source for mark in self._marks):
            return True
        return any(form.group() not in source for form in _CONTROL_FORMS.finditer(answer))


def is_new_repetition(source: str, answer: str) -> bool:
    """Whether a part of ``answer`` is repeated in a row, and no part of ``source`` is."""
    return _is_looping(answer) and not _is_looping(source)


def is_new_paraphrase(source: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether an answer with these units says the same again in other words, and its source does not."""
    share = repeated_share(answer, PARAPHRASED_SHARE)
    return share > PARAPHRASED_SHARE and share > repeated_share(source) + PARAPHRASED_BEYOND


def may_repeat(text: str) -> bool:
    """Whether a part of ``text`` is repeated in a row, so that a correct translation may repeat, too.

    Finds parts of up to 64 characters exactly. For longer parts it only tests whether some chunk of 64 characters
    occurs twice; a false positive costs no more than the early stop.
    """
    chunks = range(0, len(text) - 2 * _CHUNK + 1, _CHUNK)
    return _is_looping(text) or any(text.find(text[at : at + _CHUNK], at + _CHUNK) >= 0 for at in chunks)


def is_wrong_script(answer: str, scripts: frozenset[str]) -> bool:
    """Whether one other script has more of ``answer`` than all ``scripts`` together; False without ``scripts``."""
    if not scripts or is_mostly_in(answer, scripts):
        return False
    evidence = script_evidence(answer)
    right = sum(found for script, found in evidence.items() if script in scripts)
    wrong = max((found for script, found in evidence.items() if script not in scripts), default=0.0)
    return wrong > max(right, NEGLIGIBLE_EVIDENCE)


def _without_terms(source: str, answer: str, terms: Sequence[Term]) -> tuple[str, str]:
    """Both texts without glossary terms, whose length and script the model did not choose."""
    if not terms:
        return source, answer
    places = [(term.start, term.end) for term in terms]
    return without_spans(source, places), without_terms(terms, answer)


def _is_looping(text: str) -> bool:
    # The expression takes a microsecond for each character, so most texts are excluded first: a loop of a part of up
    # to 3 characters has a chunk of 4 that recurs within 3 characters, a longer one a chunk of 8 within 64.
    if not (_recurs(text, 4, 3) or _recurs(text, 8, 64)):
        return False
    return any(len(found.group()) >= MIN_REPEATED_CHARACTERS for found in _REPEATED.finditer(text))


def _recurs(text: str, chunk: int, within: int) -> bool:
    """Whether one of the chunks of ``text`` recurs.

    Args:
        text: is cut into chunks.
        chunk: characters of a chunk.
        within: a recurrence begins at most this many characters after the chunk does.
    """
    return any(
        text.find(text[at : at + chunk], at + 1, at + within + chunk) >= 0
        for at in range(0, len(text) - chunk, chunk)
    )


def _prompt_marks(spec: TranslationSpec) -> tuple[str, ...]:
    """Parts of prompts that no translation contains: sentences of the template, and control tokens."""
    templates = dict.fromkeys(spec.template_of(*pair) for pair in spec.pairs)
    parts = [line for each in templates for part in literal_parts(each) for line in part.split("\n")]
    sentences = [part.strip() for part in parts if len(part.strip()) >= _MIN_TEMPLATE_WORDS]
    prompts = [language.prompt for language in spec.languages.values() if language.prompt.startswith("<")]
    return tuple(dict.fromkeys([*sentences, *spec.stop_tokens, *prompts]))
