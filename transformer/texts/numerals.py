"""Numbers written in words: Han numerals, the number words of other languages, names of months. Pure.

A number of a text may be written in words in its translation, and the other way round: 5 people -> 五个人.
"""

from __future__ import annotations

import re
from functools import lru_cache

_HAN_DIGITS = {
    **dict(zip("零一二三四五六七八九", range(10), strict=True)),
    "〇": 0,
    "两": 2,
    "兩": 2,
    "俩": 2,
}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000}
_HAN_SCALES = {"万": 10_000, "萬": 10_000, "亿": 100_000_000, "億": 100_000_000}
_HAN_NUMERAL = re.compile(f"[{''.join([*_HAN_DIGITS, *_HAN_UNITS, *_HAN_SCALES])}]+")
_HAN_WORDS = {"半": ("30", "0.5"), "双": ("2",), "雙": ("2",), "对": ("2",), "打": ("12",), "单": ("1",)}

_ENGLISH_WORDS = {
    "once": "1", "single": "1", "twice": "2", "pair": "2", "couple": "2", "double": "2",
    "dual": "2", "twin": "2", "both": "2", "triple": "3", "quad": "4", "dozen": "12", "half": "0.5", "halves": "0.5",
    "noon": "12", "midnight": "0", "hundred": "100", "thousand": "1000", "million": "1000000", "fifteen": "15",
}  # fmt: skip
_ARTICLES = {
    "en": ("a", "an"),
    "de": ("ein", "eine", "einen", "einem", "einer"), "fr": ("un", "une"), "es": ("un", "una"),
    "it": ("un", "una", "uno"), "pt": ("um", "uma"), "nl": ("een",),
}  # fmt: skip
_MAX_SPELLED = 9_999
"""Larger numbers are not looked for in words."""
_MIN_STEM = 3


def is_spelled(value: str, text: str, language: str, *, articles: bool = True) -> bool:
    """Whether ``text`` has a number in words.

    Args:
        value: the number, in ASCII digits.
        text: in any case.
        language: BCP 47 tag of ``text``; English words are looked for where it is unknown.
        articles: whether `a` is 1.
    """
    if value == "1" and articles and _has_article(text, _known_language(language)):
        return True
    if any(value in _han_values(run) for run in _HAN_NUMERAL.findall(text)):
        return True
    if any(word in text and value in values for word, values in _HAN_WORDS.items()):
        return True
    words = _words_of(value, _known_language(language))
    return bool(words) and re.search(rf"(?<!\w)(?:{words})", text.lower()) is not None


def is_month_named(month: str, text: str, language: str) -> bool:
    """Whether ``text`` has the name of a month.

    Args:
        month: its number, in ASCII digits.
        text: in any case.
        language: BCP 47 tag of ``text``.
    """
    if not month.isdecimal() or not 1 <= int(month) <= 12:
        return False
    names = _month_names(_known_language(language))
    return bool(names) and re.search(rf"(?<!\w)(?:{names[int(month) - 1]})(?!\w)", text.lower()) is not None


def _known_language(tag: str) -> str:
    language = tag.split("-")[0].lower()
    return "en" if language == "und" else language


def _han_values(run: str) -> set[str]:
    """The values of a run of Han numerals: as a number, and digit by digit."""
    values = {str(_han_value(run))}
    if all(character in _HAN_DIGITS for character in run):
        values.add("".join(str(_HAN_DIGITS[character]) for character in run).lstrip("0") or "0")
        values |= {str(_HAN_DIGITS[character]) for character in run}
    return values


def _han_value(run: str) -> int:
    total = section = digit = 0
    for character in run:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
        elif character in _HAN_UNITS:
            section += (digit or 1) * _HAN_UNITS[character]
            digit = 0
        else:
            total = (total + section + digit or 1) * _HAN_SCALES[character]
            section = digit = 0
    return total + section + digit


def _has_article(text: str, language: str) -> bool:
    articles = "|".join(_ARTICLES.get(language, ()))
    return bool(articles) and re.search(rf"(?<!\w)(?:{articles})(?= )", text.lower()) is not None


@lru_cache(maxsize=1024)
def _words_of(value: str, language: str) -> str:
    """An expression of the words for a number, without the endings that grammar may change; empty for none."""
    words = [word for word, number in _ENGLISH_WORDS.items() if number == value] if language == "en" else []
    stems = [rf"{re.escape(word)}(?!\w)" for word in words]
    if value.isdecimal() and int(value) <= _MAX_SPELLED:
        spelled = _cardinal_and_ordinal(int(value), language)
        stems += [
            rf"{re.escape(word)}s?(?!\w)" if language == "en" else re.escape(_stem(word)) for word in spelled
        ]
    return "|".join(stems)


def _cardinal_and_ordinal(value: int, language: str) -> list[str]:
    from num2words import num2words

    words = []
    for form in ("cardinal", "ordinal"):
        try:
            words.append(str(num2words(value, lang=language, to=form)).lower())
        except (NotImplementedError, ValueError, TypeError, KeyError, IndexError, OverflowError):
            continue  # a language or a form that the library does not have
    return [each for each in words if each and not each[0].isdigit()]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > _MIN_STEM else word


@lru_cache(maxsize=64)
def _month_names(language: str) -> tuple[str, ...]:
    """For each month an expression of its names; empty for a language that CLDR does not have."""
    from babel import Locale, UnknownLocaleError

    try:
        months = Locale(language).months
    except (UnknownLocaleError, ValueError):
        return ()
    by_number: dict[int, set[str]] = {number: set() for number in range(1, 13)}
    for context in ("format", "stand-alone"):
        for width in ("wide", "abbreviated"):
            for number, name in months[context][width].items():
                by_number[number].add(re.escape(name.lower().rstrip(".")) + r"\.?")
    return tuple("|".join(sorted(names, reverse=True)) for names in by_number.values())
