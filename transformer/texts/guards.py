"""What speaks against a finished translation, by kind. Pure: texts in, kinds out.

A flagged answer is tried once more (:mod:`transformer.generation.attempts`), and never cached. What had to survive,
and whether it did, :mod:`transformer.texts.placeholders` knows. Which checks a release wants, and their bounds, its
``translation.json`` says (:class:`protocol.release.GuardSpec`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protocol.messages import FinishReason
from protocol.release import GUARDS, TranslationSpec
from transformer.texts.placeholders import loses_placeholder, without_placeholders
from transformer.texts.scripts import COMPATIBLE_SCRIPTS, script_evidence
from transformer.texts.terms import Term, missing_terms, without_spans, without_terms

LENGTH_TOLERANCE_BYTES = 48
"""What an answer may be longer or shorter beyond the ratio: a word or two say nothing about lengths."""

NEGLIGIBLE_EVIDENCE = 1.5
"""In words, as :func:`transformer.texts.scripts.script_evidence` counts: names of another script are no fault."""

MIN_REPEATS = 5
"""A part that follows itself this often, over :data:`MIN_REPEATED_CHARACTERS` in all, is a loop, not a text."""
MIN_REPEATED_CHARACTERS = 12
MAX_REPEATS = 8
"""Of a run of tokens, before its generation is stopped. More than :data:`MIN_REPEATS`: nearly all that is stopped
would have been flagged without."""
_CHUNK = 64
"""Characters: the longest part that :data:`_REPEATED` finds."""

_REPEATED = re.compile(rf"(.{{1,64}}?)\1{{{MIN_REPEATS - 1},}}", re.DOTALL)
_CONTROL_FORMS = re.compile(
    r"</?think(?:ing)?>|<\|[a-z0-9_.-]{1,32}\|>|<[｜|][^<>\s]{1,32}[｜|]>", re.IGNORECASE
)
_MIN_TEMPLATE_WORDS = 12
"""Characters: shorter parts of a template ("to", ":") stand in honest translations too."""


class Guards:
    """The checks of one release. Holds no state of any text."""

    def __init__(self, spec: TranslationSpec) -> None:
        self._bounds = spec.guards
        self._checks = frozenset(spec.guards.checks)
        self._scripts = {
            tag: COMPATIBLE_SCRIPTS.get(language.script, frozenset())
            for tag, language in spec.languages.items()
        }
        self._marks = _prompt_marks(spec)

    def flags(
        self,
        source: str,
        answer: str,
        target: str,
        finish_reason: FinishReason,
        terms: Sequence[Term] = (),
    ) -> tuple[str, ...]:
        """Kinds of fault in ``answer``, in the order of :data:`protocol.release.GUARDS`; empty if it seems sound.

        Args:
            source: the text that was translated; it has words.
            answer: its translation, without outer white space.
            target: tag of the language that ``answer`` should be in.
            finish_reason: why its generation ended.
            terms: what a glossary concerns in ``source``.
        """
        said, written = _beside_terms(source, answer, terms)
        if not answer:
            found = {"empty": True}
        else:
            found = {
                "ratio": self._is_out_of_proportion(said, written),
                "repetition": finish_reason is FinishReason.REPETITION or is_new_repetition(source, answer),
                "script": is_wrong_script(without_placeholders(written), self._scripts[target]),
                "leak": self._leaks(source, answer),
            }
        found["length"] = finish_reason is FinishReason.LENGTH
        found["placeholder"] = loses_placeholder(source, answer, terms)
        found["glossary"] = bool(missing_terms(terms, answer))
        return tuple(kind for kind in GUARDS if found.get(kind) and kind in self._checks)

    def max_repeats(self, source: str) -> int:
        """How often an answer to ``source`` may repeat itself before its generation is stopped; 0 if it is not."""
        stops = "repetition" in self._checks and not may_repeat(source)
        return MAX_REPEATS if stops else 0

    @property
    def retries(self) -> int:
        """How often a flagged answer is generated once more: 0 or 1."""
        return self._bounds.retries

    def _is_out_of_proportion(self, source: str, answer: str) -> bool:
        # UTF-8 bytes: three for a Chinese character, one for a Latin letter, which is about what they say.
        read, written = len(source.encode()), len(answer.encode())
        too_long = written > read * self._bounds.max_length_ratio + LENGTH_TOLERANCE_BYTES
        return too_long or written < read * self._bounds.min_length_ratio - LENGTH_TOLERANCE_BYTES

    def _leaks(self, source: str, answer: str) -> bool:
        if any(mark in answer and mark not in source for mark in self._marks):
            return True
        return any(form.group() not in source for form in _CONTROL_FORMS.finditer(answer))


def is_new_repetition(source: str, answer: str) -> bool:
    """Whether a part of ``answer`` follows itself again and again, as nothing in ``source`` does."""
    return _is_looping(answer) and not _is_looping(source)


def may_repeat(text: str) -> bool:
    """Whether a part of ``text`` follows itself, so that a good translation of it may do so too.

    Short parts are searched for; of parts longer than 64 characters that stand there three times in a row, some chunk
    of 64 comes again, and one that comes again elsewhere only costs the early stop.
    """
    chunks = range(0, len(text) - 2 * _CHUNK + 1, _CHUNK)
    return _is_looping(text) or any(text.find(text[at : at + _CHUNK], at + _CHUNK) >= 0 for at in chunks)


def is_wrong_script(answer: str, scripts: frozenset[str]) -> bool:
    """Whether more of ``answer`` is in one other script than in all of ``scripts``; False if they are not known."""
    if not scripts:
        return False
    evidence = script_evidence(answer)
    right = sum(found for script, found in evidence.items() if script in scripts)
    wrong = max((found for script, found in evidence.items() if script not in scripts), default=0.0)
    return wrong > max(right, NEGLIGIBLE_EVIDENCE)


def _beside_terms(source: str, answer: str, terms: Sequence[Term]) -> tuple[str, str]:
    """Both without what the glossary put there: its length and script are the glossary's."""
    if not terms:
        return source, answer
    places = [(term.start, term.end) for term in terms]
    return without_spans(source, places), without_terms(terms, answer)


def _is_looping(text: str) -> bool:
    # The expression takes a microsecond for each character. Most texts are cleared without it: a loop of a part of up
    # to 3 characters holds a chunk of 4 that comes again within 3, a loop of a longer one a chunk of 8 within 64.
    if not (_comes_again(text, 4, 3) or _comes_again(text, 8, 64)):
        return False
    return any(len(found.group()) >= MIN_REPEATED_CHARACTERS for found in _REPEATED.finditer(text))


def _comes_again(text: str, chunk: int, within: int) -> bool:
    """Whether one of the chunks that ``text`` can be cut into comes again ``within`` characters of its beginning."""
    return any(
        text.find(text[at : at + chunk], at + 1, at + within + chunk) >= 0
        for at in range(0, len(text) - chunk, chunk)
    )


def _prompt_marks(spec: TranslationSpec) -> tuple[str, ...]:
    """What stands in the prompts and in no translation: the template's sentences, control tokens."""
    parts = re.split(r"\{(?:text|source|target)\}|\n", spec.template)
    sentences = [part.strip() for part in parts if len(part.strip()) >= _MIN_TEMPLATE_WORDS]
    prompts = [language.prompt for language in spec.languages.values() if language.prompt.startswith("<")]
    return tuple(dict.fromkeys([*sentences, *spec.stop_tokens, *prompts]))
