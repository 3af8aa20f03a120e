"""DeepL's language codes: upper case, with variants of target languages."""

from __future__ import annotations

from collections.abc import Iterator

from protocol.errors import InvalidRequest
from protocol.messages import Formality
from protocol.template_sections import FORMAL, INFORMAL
from transformer.apis.language_table import LanguageTable

_TARGET_VARIANTS = {
    "en": (("EN-GB", "English (British)"), ("EN-US", "English (American)")),
    "pt": (("PT-BR", "Portuguese (Brazilian)"), ("PT-PT", "Portuguese (European)")),
    "zh": (("ZH", "Chinese (simplified)"), ("ZH-HANS", "Chinese (simplified)")),
    "zh-Hans": (("ZH", "Chinese (simplified)"), ("ZH-HANS", "Chinese (simplified)")),
    "zh-Hant": (("ZH-HANT", "Chinese (traditional)"),),
}
"""DeepL's target codes and names of languages that it only knows by variant, by the release's tag."""


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
        raise InvalidRequest("'formality' is not supported for given 'target_lang'.")
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
    tag = table.resolve(code)
    if tag is None:
        raise InvalidRequest(f"Value for '{field}' not supported.")
    return tag
