"""``translation.json`` of a release, as frozen types: how a text becomes a prompt, and how its answer is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.messages import SamplingParams
from protocol.release_documents import STRICT, ReleaseError, load_document, of_another_version
from protocol.suggestions import did_you_mean
from protocol.template_marks import (
    KNOWN_MARKS,
    FilledTemplate,
    faults_of_slots,
    filled_template,
    named_in,
    unknown_marks,
)
from protocol.template_sections import CONTEXT, TERMS, section_names

TRANSLATION_SCHEMAS = (1, 2)
"""Both have the same fields. 2 keeps version 0.1.0 off, which reads 1 alone and leaves out what it does not know."""

GUARDS = (
    "empty", "ratio", "repetition", "script", "leak", "replacement", "length", "placeholder", "number", "emoji",
    "glossary",
)  # fmt: skip
"""Kinds of fault that a finished translation is checked for; ``flags`` of an answer are of these."""
GUARD_VERSION = 2
"""Raised whenever the guards find more: what older ones let into the cache is a miss. Up to 255."""

_FIRST_MARKS = frozenset({"text", "source", "target"})
"""Of a template in version 0.1.0."""
_ANY_MARK = re.compile(r"\{([#^/]?[A-Za-z_][A-Za-z0-9_:-]*)\}")

TAG_NUMBER = "{number}"
"""In a form of tags: the number of the element."""
_MIN_BYTES = 16
"""A shorter text's answer varies as much as that of one of this length."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language that a release translates."""

    name: str
    """Its English name."""
    prompt: str
    """What ``{source}`` or ``{target}`` in the template becomes: a name, or a special token."""
    script: str
    """ISO 15924 code of its script (Latn, Hans, Cyrl, ...): narrows detection down."""
    code: str | None = None
    """What ``{source_code}`` becomes; None: the tag."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Its name in other languages, by their tags: ``{source_name:zh}`` becomes the one of ``zh``."""

    def name_in(self, language: str) -> str:
        """Its name in the language of a tag."""
        return self.name if language == "en" and language not in self.names else self.names[language]


@dataclass(frozen=True, slots=True)
class DirectionTemplate:
    """A template for some pairs of languages: one of ``templates`` in ``translation.json``."""

    template: str
    sources: tuple[str, ...] = ()
    """Tags of the source languages that it is for; empty: any."""
    targets: tuple[str, ...] = ()
    """The same for target languages."""

    def serves(self, source: str, target: str) -> bool:
        """Whether it is the template of a pair."""
        return source in (self.sources or (source,)) and target in (self.targets or (target,))


@dataclass(frozen=True, slots=True)
class TextLimits:
    """Bounds in tokens for one text and its answer."""

    max_source_tokens: int
    """A longer text is refused with 413."""
    max_new_tokens: int
    """No answer is longer, whatever the caller asks."""
    new_tokens_per_source_token: float
    """An answer's budget grows with its text: this times its tokens, plus ``extra_new_tokens``."""
    extra_new_tokens: int
    max_context_tokens: int = 256
    """Tokens of a text's context, where the template has a place for it, and of its terms in the prompt. A longer
    context is refused with 413; terms that do not fit are left out of the prompt."""

    def new_tokens(self, source_tokens: int) -> int:
        """Token budget of the answer to a text of ``source_tokens`` tokens."""
        budget = self.extra_new_tokens + int(self.new_tokens_per_source_token * source_tokens)
        return max(1, min(self.max_new_tokens, budget))


@dataclass(frozen=True, slots=True)
class PairLengths:
    """How long correct answers of one language pair are: one of ``lengths`` of the guards.

    As in W. A. Gale and K. W. Church, "A program for aligning sentences in bilingual corpora" (1993): of a text of n
    bytes in UTF-8 the answer's length has the mean ``ratio`` * n and the variance ``variance`` * n.
    """

    source: str
    """Tag of the source language."""
    target: str
    """Tag of the target language."""
    ratio: float
    variance: float

    def deviations(self, source_bytes: int, answer_bytes: int) -> float:
        """By how many standard deviations an answer is longer than the mean; negative for a shorter one."""
        excess = answer_bytes - self.ratio * source_bytes
        return excess / math.sqrt(self.variance * max(source_bytes, _MIN_BYTES))


@dataclass(frozen=True, slots=True)
class TagForm:
    """The tags within a sentence that a model was trained on: ``tags`` in ``translation.json``."""

    opening: str
    """Such as ``<s{number}>``, where ``{number}`` becomes the number of the element in its sentence, from 1. Without
    it a sentence is written so only if its elements are alike."""
    closing: str
    """Such as ``</s{number}>``, with or without the number."""
    before: str = ""
    after: str = ""
    """What the model writes around its whole answer, and what is no part of it."""

    @property
    def is_numbered(self) -> bool:
        """Whether opening tags have numbers."""
        return TAG_NUMBER in self.opening

    def unwrapped(self, answer: str) -> str:
        """An answer without what the model writes around it."""
        return answer.strip().removeprefix(self.before).removesuffix(self.after).strip()


@dataclass(frozen=True, slots=True)
class GuardSpec:
    """Checks of a release's answers: ``guards`` in ``translation.json``, every field optional."""

    checks: tuple[str, ...] = GUARDS
    """Kinds of fault to check for."""
    min_length_ratio: float = 0.1
    max_length_ratio: float = 6.0
    """Bytes of the answer per byte of its text, both in UTF-8; beyond these an answer is flagged ``ratio``."""
    retries: int = 1
    """0 or 1: number of times that a flagged answer is generated again."""
    lengths: tuple[PairLengths, ...] = ()
    """Of pairs whose answers are flagged ``ratio`` by statistics, which are closer than those bounds."""


@dataclass(frozen=True, slots=True)
class SamplingAdvice:
    """How the model's authors advise to sample: ``sampling`` in ``translation.json``, every field optional.

    First attempts are sampled so, with a fixed seed: the same prompt always has the same answer.
    """

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0: no such bound."""
    repetition_penalty: float = 1.0
    """Noted, and not applied: the predictor has none."""

    @property
    def params(self) -> SamplingParams:
        """What of it the predictor supports."""
        return SamplingParams(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)


@dataclass(frozen=True, slots=True)
class TranslationSpec:
    """``translation.json``: how a text becomes a prompt and when an answer ends."""

    __pydantic_config__ = STRICT

    template: str
    """Holds ``{text}`` once, and may hold other marks (:mod:`protocol.template_marks`) and optional sections
    (:mod:`protocol.template_sections`). Special tokens are written as text."""
    languages: Mapping[str, Language]
    """By tag, e.g. ``en``, ``zh``, ``pt-BR``."""
    pairs: tuple[tuple[str, str], ...]
    """(source, target) pairs the release was trained for."""
    stop_tokens: tuple[str, ...]
    """Tokens that end an answer."""
    limits: TextLimits
    guards: GuardSpec = GuardSpec()
    sentences: str = "always"
    """``always``: each sentence of a text is translated on its own, as suits models that were trained on sentences.
    ``long``: only those of texts above ``max_source_tokens``; the others keep their context."""
    templates: tuple[DirectionTemplate, ...] = ()
    """For some pairs, instead of ``template``; the first one that serves a pair is taken."""
    sampling: SamplingAdvice = SamplingAdvice()
    tags: TagForm | None = None
    """The form of tags that the model was trained on; None: it is never shown any."""

    def template_of(self, source: str, target: str) -> str:
        """The template of one pair of language tags, with its marks."""
        return next((each.template for each in self.templates if each.serves(source, target)), self.template)

    def filled_template(self, source: str, target: str, present: Collection[str] = ()) -> FilledTemplate:
        """The template of one pair of language tags, with the names of the languages.

        Args:
            source: tag.
            target: tag.
            present: names of the sections that the prompt has (:mod:`protocol.template_sections`).
        """
        languages = ((tag, self.languages[tag]) for tag in (source, target))
        sides = [(language.code or tag, language) for tag, language in languages]
        return filled_template(self.template_of(source, target), sides[0], sides[1], present)

    def template_parts(self, source: str, target: str) -> tuple[str, str]:
        """The prompt before and after the text, for one pair of language tags, without optional sections."""
        before, after = self.filled_template(source, target).literals
        return before, after

    def sections(self, source: str, target: str) -> frozenset[str]:
        """Names of the optional sections that the template of a pair has."""
        return section_names(self.template_of(source, target))

    @property
    def all_sections(self) -> frozenset[str]:
        """Names of the optional sections that any template has."""
        templates = (self.template, *(each.template for each in self.templates))
        return frozenset().union(*map(section_names, templates))

    @property
    def context_tokens(self) -> int:
        """Most tokens that a prompt has of context and terms."""
        return 0 if self.all_sections.isdisjoint((CONTEXT, TERMS)) else self.limits.max_context_tokens


def load_translation_spec(path: Path) -> TranslationSpec:
    """Read and check a ``translation.json``.

    Raises:
        ReleaseError: it is missing, or breaks a rule; the message says which.
    """
    spec = load_document(
        TranslationSpec,
        path,
        schemas=TRANSLATION_SCHEMAS,
        if_missing=f"{path} is missing: it says how text becomes a prompt (docs/releases.md)",
        fix="docs/releases.md shows a whole one",
    )
    _check_translation_spec(path, spec)
    return spec


def translation_schema_of(document: Mapping[str, Any]) -> int:
    """The number to write into a ``translation.json``: 2 if version 0.1.0 would answer with it, and otherwise.

    Args:
        document: its other fields.
    """
    marks = set(_ANY_MARK.findall(document["template"]))
    is_newer = any(document.get(name) for name in ("templates", "sampling", "tags"))
    return 2 if is_newer or not marks <= _FIRST_MARKS else 1


def _check_translation_spec(path: Path, spec: TranslationSpec) -> None:
    known = set(spec.languages)
    rules = (
        *_template_rules(spec),
        (bool(spec.pairs), "pairs must name at least one [source, target]"),
        (
            all({a, b} <= known and a != b for a, b in spec.pairs),
            "pairs may name two different known languages only",
        ),
        (bool(spec.stop_tokens), "stop_tokens must name at least one token"),
        (spec.limits.max_source_tokens > 0, "limits.max_source_tokens must be positive"),
        (spec.limits.max_new_tokens > 0, "limits.max_new_tokens must be positive"),
        (
            spec.limits.new_tokens_per_source_token >= 0,
            "limits.new_tokens_per_source_token must not be negative",
        ),
        (spec.limits.extra_new_tokens >= 0, "limits.extra_new_tokens must not be negative"),
        (spec.limits.max_context_tokens > 0, "limits.max_context_tokens must be positive"),
        (spec.sampling.temperature >= 0, "sampling.temperature must not be negative"),
        (0 < spec.sampling.top_p <= 1, "sampling.top_p must be above 0 and at most 1"),
        (spec.sampling.top_k >= 0, "sampling.top_k must not be negative; 0 is no bound"),
        (spec.sampling.repetition_penalty > 0, "sampling.repetition_penalty must be positive; 1 is none"),
        (set(spec.guards.checks) <= set(GUARDS), f"guards.checks may name {', '.join(GUARDS)} only"),
        (
            0 <= spec.guards.min_length_ratio < spec.guards.max_length_ratio,
            "guards.min_length_ratio must not be negative, and below guards.max_length_ratio",
        ),
        (spec.guards.retries in (0, 1), "guards.retries must be 0 or 1"),
        (
            {(each.source, each.target) for each in spec.guards.lengths} <= set(spec.pairs),
            "guards.lengths may name pairs of the release only",
        ),
        (
            all(each.ratio > 0 and each.variance > 0 for each in spec.guards.lengths),
            "ratio and variance of guards.lengths must be positive",
        ),
        (spec.sentences in ("always", "long"), "sentences must be always or long"),
        (
            spec.tags is None
            or (spec.tags.opening != spec.tags.closing and bool(spec.tags.opening and spec.tags.closing)),
            "tags.opening and tags.closing must be two different tags",
        ),
    )
    for holds, rule in rules:
        if not holds:
            fix = of_another_version(path.parent)
            raise ReleaseError(f"{path}: {rule}; {fix}" if fix else f"{path}: {rule}")


def _template_rules(spec: TranslationSpec) -> list[tuple[bool, str]]:
    """The rules of templates, each with whether it holds."""
    rules = []
    every = [("template", spec.template)]
    every += [(f"templates[{number}].template", each.template) for number, each in enumerate(spec.templates)]
    for place, template in every:
        unknown = next(iter(unknown_marks(template)), "")
        named = {
            tag
            for tag in named_in(template)
            for each in spec.languages.values()
            if tag not in (*each.names, "en")
        }
        rules += [(False, f"{place} {fault}") for fault in faults_of_slots(template)]
        rules += [
            (
                not unknown,
                f"{place} has the unknown mark {{{unknown}}}{did_you_mean(unknown, KNOWN_MARKS)}; known are "
                f"{', '.join(KNOWN_MARKS)}, and source_name:TAG and target_name:TAG",
            ),
            (
                not named,
                f"{place} names languages in {min(named, default='')!r}: add that name to names of every language",
            ),
        ]
    tags = {tag for each in spec.templates for tag in (*each.sources, *each.targets)}
    rules.append((tags <= set(spec.languages), "templates may name known languages only"))
    return rules
