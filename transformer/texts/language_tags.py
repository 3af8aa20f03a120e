"""Resolves callers' language tags to those of a release. Pure.

Understood are BCP 47 tags in any case, three-letter codes of ISO 639 (``zho``), names of locales (``en_US.UTF-8``,
``sr_RS@latin``) and old tags (``iw``, ``zh-CHT``). A tag that names a script, or a region with another script than
the release's language has, is not resolved to it: nobody who asks for Traditional Chinese gets Simplified.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from babel.core import get_global

from protocol.translation_spec import Language

_OLD_TAGS = {"zh-cht": "zh-Hant", "zh-chs": "zh-Hans", "no": "nb"}
_MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}
_VARIANTS = {"Hani": frozenset({"Hans", "Hant"}), "Hrkt": frozenset({"Jpan"}), "Hang": frozenset({"Kore"})}
"""Scripts of CLDR that a release may write otherwise."""


def canonical_tag(tag: str) -> str:
    """A tag in BCP 47's case and separators, with deprecated languages replaced: ``ZH_hans_cn`` -> ``zh-Hans-CN``."""
    tag, _, modifier = tag.strip().partition("@")
    tag = tag.partition(".")[0].replace("_", "-")
    tag = _OLD_TAGS.get(tag.lower(), tag)
    language, *rest = tag.split("-")
    language = language.lower()
    if rest and len(rest[0]) == 3 and rest[0].isalpha() and language in ("zh", "ar", "ms"):
        language = rest.pop(0).lower()  # the extended form of a language: zh-yue
    language, *script = _language_aliases().get(language, _OLD_TAGS.get(language, language)).split("_")
    script = script or ([_MODIFIERS[modifier]] if modifier in _MODIFIERS else [])
    if script and not any(len(subtag) == 4 for subtag in rest):
        rest = script + rest
    return "-".join([language, *(_canonical_subtag(subtag) for subtag in rest)])


class LanguageTags:
    """The tags of one release's languages."""

    def __init__(self, languages: Mapping[str, Language]) -> None:
        """Index the languages, which are by tag."""
        self._by_form = {canonical_tag(tag): tag for tag in languages}
        self._scripts = {tag: language.script for tag, language in languages.items()}

    def exact(self, tag: str) -> str | None:
        """The release's tag with the same canonical form; None if there is none."""
        return self._by_form.get(canonical_tag(tag))

    def resolve(self, tag: str) -> str | None:
        """The release's tag for a caller's tag; None if there is none.

        Tried in this order: the tag itself; with its likely script (``zh-TW`` -> ``zh-Hant``); its shorter forms, if
        the language is written in the same script (``zh-CN`` -> ``zh``); for a language without subtags, the only
        longer form (``pt`` -> ``pt-BR``).
        """
        canonical = canonical_tag(tag)
        if canonical in self._by_form:
            return self._by_form[canonical]
        subtags = canonical.split("-")
        if len(subtags) == 1:
            longer = [name for form, name in self._by_form.items() if form.startswith(f"{canonical}-")]
            return longer[0] if len(longer) == 1 else None
        script = _script_of(subtags)
        shorter = ["-".join(subtags[:length]) for length in range(len(subtags) - 1, 0, -1)]
        for form in [f"{subtags[0]}-{script}", *shorter]:
            found = self._by_form.get(form)
            if found is not None and self._is_written(found, script):
                return found
        return None

    def _is_written(self, tag: str, script: str | None) -> bool:
        """Whether a language of the release is written in ``script``; True if that is unknown."""
        own = self._scripts[tag]
        return script is None or script == own or script in _VARIANTS.get(own, ())


def _script_of(subtags: list[str]) -> str | None:
    """The script that a tag names, or that its region has; None if it is unknown."""
    explicit = next((subtag for subtag in subtags[1:] if len(subtag) == 4 and subtag.isalpha()), None)
    if explicit:
        return explicit
    region = next((subtag for subtag in subtags[1:] if len(subtag) in (2, 3) and subtag.isupper()), "")
    likely = _likely_subtags()
    found = likely.get(f"{subtags[0]}_{region}") or likely.get(subtags[0])
    return found.split("_")[1] if found else None


def _canonical_subtag(subtag: str) -> str:
    if len(subtag) == 4 and subtag.isalpha():
        return subtag.title()
    return subtag.upper() if len(subtag) == 2 else subtag.lower()


@lru_cache(maxsize=1)
def _language_aliases() -> Mapping[str, str]:
    aliases: Mapping[str, str] = get_global("language_aliases")
    return aliases


@lru_cache(maxsize=1)
def _likely_subtags() -> Mapping[str, str]:
    likely: Mapping[str, str] = get_global("likely_subtags")
    return likely
