"""DeepL's language codes: upper case, with variants of target languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from protocol.errors import InvalidRequest
from protocol.messages import Formality
from protocol.template_sections import FORMAL, INFORMAL
from transformer.apis.language_table import LanguageTable
from transformer.texts.language_tags import canonical_tag

_TARGET_VARIANTS = {
    "en": (("EN-GB", "English (British)"), ("EN-US", "English (American)")),
    "pt": (("PT-BR", "Portuguese (Brazilian)"), ("PT-PT", "Portuguese (European)")),
    "zh": (("ZH", "Chinese (simplified)"), ("ZH-HANS", "Chinese (simplified)")),
    "zh-Hans": (("ZH", "Chinese (simplified)"), ("ZH-HANS", "Chinese (simplified)")),
    "zh-Hant": (("ZH-HANT", "Chinese (traditional)"),),
}
"""DeepL's target codes and names of languages that it only knows by variant, by the release's tag."""

SERVED_RESOURCES = ("translate_text", "translate_document", "glossary")
"""Of version 3's list of languages."""
_OTHER_RESOURCES = ("voice", "write", "style_rules")
_FEATURES = ("glossary", "tag_handling")


@dataclass(slots=True)
class ListedLanguage:
    """A language in version 3's list."""

    code: str
    """In BCP 47's case."""
    name: str
    uses: set[str] = field(default_factory=set)
    features: dict[str, None] = field(default_factory=dict)

    def add(self, use: str, *features: str) -> None:
        """Add a use, ``usable_as_source`` or ``usable_as_target``, and the features that it has."""
        self.uses.add(use)
        self.features.update(dict.fromkeys(features))

    def to_json(self) -> dict[str, object]:
        """As DeepL answers it."""
        uses = {use: use in self.uses for use in ("usable_as_source", "usable_as_target")}
        features = {name: {"status": "stable"} for name in self.features}
        return {"lang": self.code, "name": self.name, **uses, "status": "stable", "features": features}


def source_code(tag: str) -> str:
    """DeepL's code of a source language, which has no variants."""
    return tag.partition("-")[0].upper()


def source_languages(table: LanguageTable) -> Iterator[dict[str, object]]:
    """The list for ``type=source``."""
    listed: set[str] = set()
    for tag in table.sources:
        code = source_code(tag)
        if code not in listed:
            listed.add(code)
            yield {"language": code, "name": table.names[tag]}


def target_languages(table: LanguageTable) -> Iterator[dict[str, object]]:
    """The list for ``type=target``."""
    for tag in table.targets:
        for code, name in _TARGET_VARIANTS.get(tag, ((tag.upper(), table.names[tag]),)):
            yield {"language": code, "name": name, "supports_formality": supports_formality(table, None, tag)}


def languages_of(table: LanguageTable, resource: str) -> list[dict[str, object]]:
    """The list of version 3 for a resource; empty for one that is not served.

    Raises:
        InvalidRequest: DeepL has no such resource.
    """
    if resource not in (*SERVED_RESOURCES, *_OTHER_RESOURCES):
        raise InvalidRequest("Value for 'resource' not supported.")
    if resource not in SERVED_RESOURCES:
        return []
    found: dict[str, ListedLanguage] = {}
    for each in source_languages(table):
        _listed(found, each).add("usable_as_source", *_FEATURES, "auto_detection")
    for each in target_languages(table):
        formality = ("formality",) if each["supports_formality"] else ()
        _listed(found, each).add("usable_as_target", *_FEATURES, *formality)
    return [each.to_json() for each in found.values()]


def _listed(found: dict[str, ListedLanguage], listed: Mapping[str, object]) -> ListedLanguage:
    """The entry of version 3 for a language of version 2's list; a new one if there is none yet."""
    code = canonical_tag(str(listed["language"]))
    return found.setdefault(code, ListedLanguage(code, str(listed["name"])))


def supports_formality(table: LanguageTable, source: str | None, target: str) -> bool:
    """Whether translations can be asked for more and for less formal.

    Args:
        table: of the release.
        source: the release's tag; None for any.
        target: the release's tag.
    """
    return all(table.has_section(name, source, target) for name in (FORMAL, INFORMAL))


def formality_of(table: LanguageTable, given: str | None, source: str | None, target: str) -> Formality:
    """The value of the parameter ``formality``.

    Args:
        table: of the release.
        given: as it was sent, in any case; None or empty for the default.
        source: the release's tag; None for any.
        target: the release's tag.

    Raises:
        InvalidRequest: it is unknown, or required and not served for these languages.
    """
    try:
        formality = Formality((given or Formality.DEFAULT.value).lower())
    except ValueError:
        raise InvalidRequest("Value for 'formality' not supported.") from None
    if formality.is_required and not supports_formality(table, source, target):
        raise InvalidRequest("Target language does not support 'formality'.")
    return formality


def language_of(table: LanguageTable, field: str, code: str | None) -> str:
    """The release's tag for DeepL's code.

    Args:
        table: of the release.
        field: in which the code was sent.
        code: in any case; None if it was not sent.

    Raises:
        InvalidRequest: it is missing, or not served.
    """
    if not code:
        raise InvalidRequest(f"Parameter '{field}' not specified.")
    tag = table.resolve(code) or _first_of_code(table, field, code.upper())
    if tag is None:
        raise InvalidRequest(f"Value for '{field}' not supported.")
    return tag


def _first_of_code(table: LanguageTable, field: str, code: str) -> str | None:
    """The release's first tag of those that DeepL's code stands for: ``pt-BR`` for ``PT`` beside ``pt-PT``.

    Of targets those come first that are listed under the code: ``zh-Hans`` for ``ZH``, even behind ``zh-Hant``.
    """
    if field == "source_lang":
        return next((tag for tag in table.sources if source_code(tag) == code), None)
    listed = (tag for tag in table.targets if code in dict(_TARGET_VARIANTS.get(tag, ())))
    return next(chain(listed, (tag for tag in table.targets if source_code(tag) == code)), None)
