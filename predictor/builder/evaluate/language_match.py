"""Finds the language of a release that a test set means: ``zho_Hans``, ``zh_CN`` and ``zh`` are one language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from babel.core import get_global

from protocol.translation_spec import Language

_SCRIPTS = {"Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan"}
"""Scripts that FLORES names, by the one that ISO 15924 has for all scripts of the language."""
_MACRO = {"nb": "no", "nn": "no"}


@dataclass(frozen=True, slots=True)
class _Parts:
    language: str
    script: str
    region: str


def match_language(tag: str, languages: Mapping[str, Language]) -> str | None:
    """The tag of the release's language that ``tag`` means, or None.

    Args:
        tag: with two or three letters, and maybe a script and a region: ``fr``, ``zh_CN``, ``eng_Latn``.
        languages: of the release, by tag.
    """
    plain = tag.replace("_", "-")
    for known in languages:
        if known.lower() == plain.lower():
            return known
    wanted = _parts(plain)
    found = [
        (known, parts)
        for known, language in languages.items()
        if (parts := _parts(known)).language == wanted.language
        and _script(language.script) in ("", wanted.script)
    ]
    # The same region first, then a language without one: en-US is rather en than en-GB.
    found.sort(key=lambda each: (each[1].region != wanted.region, bool(each[1].region)))
    return found[0][0] if found else None


def _parts(tag: str) -> _Parts:
    """Language, script and region; the script is the likely one (CLDR) where the tag has none."""
    first, *rest = tag.split("-")
    replaced = (get_global("language_aliases").get(first.lower()) or first.lower()).split("_")[0]
    language = _MACRO.get(replaced, replaced)
    script = next((part.title() for part in rest if len(part) == 4), "")
    region = next((part.upper() for part in rest if len(part) in (2, 3)), "")
    if not script:
        likely = get_global("likely_subtags")
        full = likely.get(f"{language}_{region}") or likely.get(language) or ""
        script = next((part for part in full.split("_") if len(part) == 4), "")
    return _Parts(language, _script(script), region)


def _script(name: str) -> str:
    return _SCRIPTS.get(name, name)
