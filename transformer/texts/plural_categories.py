"""The plural categories of languages, from Unicode CLDR by way of babel. Pure."""

from __future__ import annotations

from functools import lru_cache

from babel import Locale, UnknownLocaleError

CATEGORIES = ("zero", "one", "two", "few", "many", "other")
"""All that CLDR has, in its order."""


@lru_cache(maxsize=256)
def plural_categories(language: str, *, is_ordinal: bool = False) -> tuple[str, ...] | None:
    """The categories of a language's numbers, ``other`` last; None if CLDR does not know the language.

    Args:
        language: BCP 47 tag.
        is_ordinal: whether they are those of places in an order (1st, 2nd), instead of those of counts.
    """
    try:
        locale = Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return None
    tags = (locale.ordinal_form if is_ordinal else locale.plural_form).tags
    return tuple(each for each in CATEGORIES if each in tags or each == "other")
