"""The languages of a release as the public APIs name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.translation_spec import TranslationSpec
from transformer.texts.language_tags import LanguageTags
from transformer.texts.languages import UNDETERMINED, Languages

_LONGEST_TAG = 35
"""RFC 5646 (4.4.1) asks for room for 35 characters."""
_RIGHT_TO_LEFT = frozenset({"Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"})
_DETECTED_CHARACTERS = 4_000
"""Detection looks at this many characters of a text."""


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """The most likely language of a text."""

    tag: str | None
    """The release's tag; None if no language of the release fits."""
    confidence: float
    """From 0 to 1."""


class LanguageTable:
    """Tags, names and pairs of one release."""

    def __init__(self, spec: TranslationSpec) -> None:
        self._spec = spec
        self._known = LanguageTags(spec.languages)
        self._languages = Languages(spec)
        self.sources = tuple(tag for tag in spec.languages if any(tag == pair[0] for pair in spec.pairs))
        self.targets = tuple(tag for tag in spec.languages if any(tag == pair[1] for pair in spec.pairs))

    @property
    def names(self) -> Mapping[str, str]:
        """The English name of each language, by tag."""
        return {tag: language.name for tag, language in self._spec.languages.items()}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All (source, target) pairs."""
        return self._spec.pairs

    def has_section(self, name: str, source: str | None, target: str) -> bool:
        """Whether the templates of all pairs into ``target`` have an optional section.

        Args:
            name: of the section (:mod:`protocol.template_sections`).
            source: the release's tag; None for any.
            target: the release's tag.
        """
        pairs = [pair for pair in self._spec.pairs if pair[1] == target and source in (None, pair[0])]
        return bool(pairs) and all(name in self._languages.sections.get(pair, ()) for pair in pairs)

    @property
    def schema(self) -> dict[str, object]:
        """The JSON schema of a language: one of the release's tags, or another string that resolves to one."""
        return {"anyOf": [{"enum": list(self.names)}, {"type": "string"}]}

    def is_right_to_left(self, tag: str) -> bool:
        """Whether a language is written from right to left."""
        return self._spec.languages[tag].script in _RIGHT_TO_LEFT

    def resolve(self, tag: str) -> str | None:
        """The release's tag for a caller's tag, in any case, with more or fewer subtags; None if it has none."""
        return self._known.resolve(tag) if 0 < len(tag) <= _LONGEST_TAG else None

    def exact(self, tag: str) -> str | None:
        """The release's tag that equals a caller's but for case and separators; None if there is none."""
        return self._known.exact(tag) if len(tag) <= _LONGEST_TAG else None

    def by_name(self, name: str) -> str | None:
        """The release's tag for a tag or an English name such as ``Chinese``; None if it has none."""
        found = self.resolve(name)
        if found is not None:
            return found
        return next((tag for tag, known in self.names.items() if known.lower() == name.strip().lower()), None)

    def targets_of(self, source: str) -> tuple[str, ...]:
        """What a source language is translated to."""
        return tuple(target for first, target in self._spec.pairs if first == source)

    def detect(self, text: str) -> DetectedLanguage:
        """The most likely language of a text; its beginning decides."""
        tag, confidence = self._languages.detect(text[:_DETECTED_CHARACTERS])
        return DetectedLanguage(None if tag == UNDETERMINED else tag, confidence)
