"""Resolves language tags, and detects the language of a text among those of a release. Pure.

Detection looks at scripts first: most releases' languages differ in script, and statistics need more than the few
characters of a title. Among languages of one script py3langid decides. Detection is deterministic: the same text has
the same language in every process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import py3langid

from protocol.fast_dataclass import fast_dataclass
from protocol.template_sections import TAGS
from protocol.translation_spec import TranslationSpec
from transformer.errors import UndetectedLanguage, UnknownLanguage, UnknownPair
from transformer.texts.language_tags import LanguageTags, canonical_tag
from transformer.texts.patterns import detection_sample, has_words
from transformer.texts.scripts import COMPATIBLE_SCRIPTS, chinese_script, script_evidence

UNDETERMINED = "und"
"""BCP 47 tag of a text without language: numbers, punctuation, emoji."""

_TO_DETECT = ("", "auto", UNDETERMINED)
_LANGID_NAMES = {"nb": "no", "cmn": "zh"}
_NEGLIGIBLE_EVIDENCE = 1.5
"""In words. Less text than this in a script that the release does not read is ignored, such as a Greek letter in a
model number."""
_TARGET_DISCOUNT = 0.5
"""Factor for evidence that a text is in its target language already. A mistake there leaves the text untranslated,
while a needless translation of a mixed text does little harm."""
_KANA_SHARE = 0.2
"""With a smaller share of kana than this, a text may be Chinese with a borrowed の."""

_TAGS_KEPT = 256
_LONGEST_KEPT = 35
"""Number and length of callers' tags whose resolution is cached: RFC 5646 (4.4.1) asks for room for 35 characters."""
_LONGEST_TAG = 1_000
"""A longer tag is unknown."""


@fast_dataclass(frozen=True, slots=True)
class LanguagePair:
    """Source and target language of a text; both tags as the release writes them."""

    source: str
    """``und`` if the text has no language."""
    target: str
    needs_model: bool
    """False if there is nothing to translate, or the text is in the target language already."""


@lru_cache(_TAGS_KEPT)
def _model_pair(source: str, target: str) -> LanguagePair:
    """A pair that needs the model; the texts of a request share it."""
    return LanguagePair(source, target, needs_model=True)


class Languages:
    """The languages of one release."""

    def __init__(self, spec: TranslationSpec) -> None:
        self._spec = spec
        self._tags = LanguageTags(spec.languages)
        with_tags = {pair for pair in spec.pairs if TAGS in spec.sections(*pair)}
        self.tag_forms = {} if spec.tags is None else dict.fromkeys(with_tags or spec.pairs, spec.tags)
        """By pair, the form of tags within sentences that the release's model was trained on. If templates have a
        section for tags, only pairs of such templates have a form."""
        self._pairs = frozenset(spec.pairs)
        self._readable = {
            target: tuple(tag for tag in spec.languages if (tag, target) in self._pairs or tag == target)
            for _, target in spec.pairs
        }
        """By target: the languages that a text may be in, the target included."""
        self.sections = {pair: found for pair in spec.pairs if (found := spec.sections(*pair))}
        """Names of the optional sections that the template of a pair has; no entry for none."""
        # The texts of a request nearly always have the same tags.
        self._resolved = lru_cache(_TAGS_KEPT)(self._tags.resolve)

    def resolve_pair(self, index: int, text: str, source: str | None, target: str) -> LanguagePair:
        """The language pair of one text.

        Args:
            index: of the text in its request, for error messages.
            text: without markup.
            source: tag that the caller gave; None, ``auto`` or ``und`` detects the language.
            target: tag that the caller gave.

        Raises:
            UnknownLanguage, UnknownPair: the release does not speak it, or does not translate this way.
            UndetectedLanguage: ``source`` was not given and no candidate fits.
        """
        to = self._resolve(index, "target", target)
        given = None
        if source is not None and source.lower() not in _TO_DETECT:
            given = self._resolve(index, "source", source)
        if given == to:
            return LanguagePair(to, to, needs_model=False)
        if to not in self._readable:
            raise UnknownLanguage(index, "target", target, self._readable)
        if given is not None and (given, to) not in self._pairs:
            raise UnknownPair(index, given, to, self._spec.pairs)
        if not has_words(text):
            return LanguagePair(given or UNDETERMINED, to, needs_model=False)
        if given is not None:
            return _model_pair(given, to)
        sample = detection_sample(text)
        found = self._detect(sample, script_evidence(sample), to)
        if found is None:
            raise UndetectedLanguage(index, self._readable[to])
        return LanguagePair(found, to, needs_model=found not in (to, UNDETERMINED))

    def detect(self, text: str) -> tuple[str, float]:
        """The most likely language of a text among all that are translated from, for callers that only ask for it.

        Returns:
            Its tag and a confidence from 0 to 1: the share of the text that is in the language's script, times the
            share of the language in py3langid's estimate among those of one script. ``und`` and 0 if no language of
            the release is written in a script of the text.
        """
        sources = {source for source, _ in self._spec.pairs}
        readers = {tag: self._scripts_of(tag) for tag in self._spec.languages if tag in sources}
        evidence = script_evidence(text)
        readable = frozenset[str]().union(*readers.values())
        weights = {script: found for script, found in evidence.items() if script in readable}
        if not weights:
            return UNDETERMINED, 0.0
        best = max(weights, key=lambda script: (weights[script], script))
        tags = [tag for tag in readers if best in readers[tag]]
        tag = self._choose(text, evidence, best, tags)
        share = sum(found for script, found in evidence.items() if script in readers[tag])
        return tag, share / sum(evidence.values()) * _share_among(text, tag, tags)

    def _resolve(self, index: int, role: str, tag: str) -> str:
        known = self._resolved(tag) if len(tag) <= _LONGEST_KEPT else self._resolve_long(tag)
        if known is None:
            raise UnknownLanguage(index, role, tag, self._spec.languages)
        return known

    def _resolve_long(self, tag: str) -> str | None:
        return self._tags.resolve(tag) if len(tag) <= _LONGEST_TAG else None

    def _detect(self, text: str, evidence: Mapping[str, float], target: str) -> str | None:
        """The language of ``text``; ``und`` if it has almost no letters; None if no language of the release fits."""
        readers = {tag: self._scripts_of(tag) for tag in self._readable[target]}
        sources = frozenset[str]().union(*(readers[tag] for tag in readers if tag != target))
        weights = {
            script: found * (1.0 if script in sources else _TARGET_DISCOUNT)
            for script, found in evidence.items()
            if script in sources or script in readers[target]
        }
        unread = max((found for script, found in evidence.items() if script not in weights), default=0.0)
        if unread > max(_NEGLIGIBLE_EVIDENCE, *weights.values(), 0.0):
            return None
        if not weights:
            return UNDETERMINED
        best = max(weights, key=lambda script: (weights[script], script))
        return self._choose(text, evidence, best, [tag for tag in readers if best in readers[tag]])

    def _scripts_of(self, tag: str) -> frozenset[str]:
        return COMPATIBLE_SCRIPTS.get(self._spec.languages[tag].script, frozenset())

    def _choose(self, text: str, evidence: Mapping[str, float], script: str, tags: list[str]) -> str:
        """One of ``tags``, all written in ``script``."""
        if script in ("Hani", "Kana"):
            tags = self._filter_han(text, evidence, tags)
        if len(tags) == 1:
            return tags[0]
        order = {name: rank for rank, (name, _) in enumerate(py3langid.rank(text))}
        return min(tags, key=lambda tag: (order.get(_langid_name(tag), len(order)), tag))

    def _filter_han(self, text: str, evidence: Mapping[str, float], tags: list[str]) -> list[str]:
        scripts = {tag: self._spec.languages[tag].script for tag in tags}
        kana, han = evidence.get("Kana", 0.0), evidence.get("Hani", 0.0)
        if kana >= _KANA_SHARE * (kana + han):
            japanese = [tag for tag in tags if scripts[tag] == "Jpan"]
            if japanese:
                return japanese
        if not kana and {"Hans", "Hant"} <= set(scripts.values()):
            unlikely = {"Hans": "Hant", "Hant": "Hans"}[chinese_script(text)]
            return [tag for tag in tags if scripts[tag] != unlikely]
        return tags


def _share_among(text: str, tag: str, tags: list[str]) -> float:
    """py3langid's probability of ``tag`` if the text is in one of ``tags``; 1 if there is no other."""
    scores = dict(py3langid.rank(text)) if len(tags) > 1 else {}
    known = {each: scores[_langid_name(each)] for each in tags if _langid_name(each) in scores}
    if len(known) < 2 or tag not in known:
        return 1.0
    best = max(known.values())
    return math.exp(known[tag] - best) / sum(math.exp(score - best) for score in known.values())


def _langid_name(tag: str) -> str:
    language = canonical_tag(tag).split("-")[0]
    return _LANGID_NAMES.get(language, language)
