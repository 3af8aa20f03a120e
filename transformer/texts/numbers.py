"""Compares the numbers of a text with those of its translation. Pure.

A number may be formatted anew (1,299.99 -> 1.299,99) and written in words (5 -> 五), but not changed. Each number
has readings: `1.299` is 1299 or 1.299. Two numbers are equal if they share a reading.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from transformer.texts.numerals import is_month_named, is_spelled

_MARK_BEFORE = re.compile(r"(上午|下午|凌晨|早上|中午|晚上|午前|午後|오전|오후) ?\Z")
_AFTERNOON = ("下午", "晚上", "午後", "오후", "p")
_NUMBER = re.compile(
    r"(?<!\d)(?P<year>\d{4})(?P<separator>[-/.])(?P<month>\d{1,2})(?P=separator)(?P<day>\d{1,2})(?!\d)"
    r"|(?<![\d.,])(?P<first>\d{1,2})(?P<separator2>[-/.])(?P<second>\d{1,2})(?P=separator2)(?P<last>\d{4})(?!\d)"
    r"|(?P<han_year>\d{4}) ?[年년] ?(?P<han_month>\d{1,2}) ?[月월] ?(?P<han_day>\d{1,2})(?!\d)"
    r"|(?<![\d:])(?P<hour>[01]?\d|2[0-4])(?:[:：]|[点點时時시] ?| ?Uhr ?|h(?=\d\d))(?P<minute>[0-5]\d)分?"
    r"(?:[:：](?P<second_of>[0-5]\d))?(?![\d:])(?:\s?(?P<after>[aApP])\.?[mM]\b\.?)?"
    r"|(?<![\w+])(?P<phone>\+\d[\d ().-]{6,20}\d|\(\d{3}\) ?\d{3}-\d{4}|\d{3,4}-\d{3,4}-\d{4})(?!\w)"
    r"|(?P<plain>\d{1,3}(?P<group>[,.'’\u00a0\u202f])\d{2,3}(?:(?P=group)\d{2,3}){0,8}(?:[.,]\d{1,12})?(?!\d)"
    r"|\d{1,40}(?:[.,]\d{1,12})?)"
    r"(?P<scale>\s?(?:万|萬|亿|億|만|억|千|百|折)|\s?(?:thousand|million|billion|Mio|Mrd|млн|тыс|млрд)\b|[kK]\b)?"
)
_PER_CENT = re.compile(r"\d\s?[%％٪]|[%％٪]\s?\d")
_PER_CENT_RANGE = re.compile(r"\d\s?[%％٪]\s?(?:[-–~～]|to)\s?\d+\s?[%％٪]")
_SAID_PER_CENT = re.compile(
    r"[%％٪折成]|百分|percent|per cent|pct|prozent|pour cent|por cien|per cento|por cento|процент|퍼센트"
    r"|パーセント"
)
_MONEY = re.compile(r"[$€£¥￥₹₩₽]\s?\d|\d\s?[€£¥￥₹₩₽]")
_SAID_MONEY = re.compile(
    r"[$€£¥￥₹₩₽元圆圓円원块塊刀]|美金|英镑|欧元|卢布|卢比|ドル|ユーロ|달러|유로"
    r"|dollar|euro|pound|yuan|yen|rupee|ruble|dólar|pfund|livre|libra|sterlin|rubl|rupia|доллар|евро|руб|фунт"
    r"|\b(?:usd|eur|gbp|cny|rmb|jpy|inr|krw|rub|won)\b"
)
_SIGNED_LANGUAGES = frozenset(("en", "zh", "ja", "ko", "de", "fr", "es", "it", "pt", "ru"))
"""Languages whose words for them are known."""
_HOUR = re.compile(r"[点點时時시]|uhr|heure|hora|\bore\b|час|o'clock|half|quarter")
"""Says that the numbers beside it are a time."""
_DIGIT = re.compile(r"\d")
_NUMERAL = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
"""A reading that is a number; that of `1.23.45` is none."""
_COMBINED = re.compile(
    r"[0-9](?:(?<=[$€£¥￥₹₩₽%％٪+(].)|(?<=[$€£¥￥₹₩₽%％٪]\s.)|\s?[$€£¥￥₹₩₽%％٪万萬亿億만억千百折年년点點時时시]"
    r"|\s?(?:thousand|million|billion|Mio|Mrd|млн|тыс|млрд|Uhr)|[:：'’\u00a0\u202fh][0-9]|[kK]\b|[-/][0-9]{1,4}[-/][0-9])"
)
"""Signs, scales, dates, times and phone numbers: with them a number may mean more than its digits."""
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")
_SPACED_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3}){1,4}(?![\d ]\d)")
_SCALES = {
    "千": 10**3, "k": 10**3, "thousand": 10**3, "тыс": 10**3, "百": 100, "万": 10**4, "萬": 10**4, "만": 10**4,
    "million": 10**6, "mio": 10**6, "млн": 10**6, "亿": 10**8, "億": 10**8, "억": 10**8,
    "billion": 10**9, "mrd": 10**9, "млрд": 10**9,
}  # fmt: skip
_UNPADDED = 2
"""Digits of a number whose leading zero means nothing: 05 is 5, but 007 is not 7."""


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number in a text."""

    readings: frozenset[str]
    """What it may mean."""
    parts: tuple[str, ...] = ()
    """Of a date or a time the numbers that it consists of."""
    is_part: bool = False
    """Whether it is one of those."""


def changes_numbers(source: str, answer: str, source_language: str, target_language: str) -> bool:
    """Whether a number of ``source`` is missing in ``answer``, or the other way round.

    Args:
        source: a text without placeholders.
        answer: its translation, without placeholders.
        source_language: BCP 47 tag of ``source``.
        target_language: BCP 47 tag of ``answer``.
    """
    source, answer = _ascii_digits(source), _ascii_digits(answer)
    read_numerals, written_numerals = _NUMERAL.findall(source), _NUMERAL.findall(answer)
    if sorted(read_numerals) == sorted(written_numerals) and not (
        read_numerals and (_COMBINED.search(source) or _COMBINED.search(answer))
    ):
        return False  # most texts: they have none, or the same in the same form
    if _loses_sign(source, answer, target_language):
        return True
    for read in dict.fromkeys((source, _without_group_spaces(source))):
        for written in dict.fromkeys((answer, _without_group_spaces(answer))):
            splits_times = _HOUR.search(read.lower()) is not None or _HOUR.search(written.lower()) is not None
            missing, added = _unmatched(
                find_numbers(read, splits_times=splits_times),
                find_numbers(written, splits_times=splits_times),
            )
            if not (
                _unexplained(missing, answer, target_language) or _unexplained(added, source, source_language)
            ):
                return False
    return True


def _loses_sign(source: str, answer: str, language: str) -> bool:
    """Whether a number of ``source`` is per cent or money, and nothing in ``answer`` says so."""
    if language.split("-")[0].lower() not in _SIGNED_LANGUAGES:
        return False
    said = answer.lower()
    per_cent = len(_PER_CENT.findall(source)) - len(_PER_CENT_RANGE.findall(source))
    if per_cent and len(_SAID_PER_CENT.findall(said)) < per_cent:
        return True
    return _MONEY.search(source) is not None and _SAID_MONEY.search(said) is None


def find_numbers(text: str, *, splits_times: bool = True) -> list[WrittenNumber]:
    """The numbers of ``text``, which has ASCII digits, in order.

    Args:
        text: any text.
        splits_times: whether a time may be matched by its hour and its minute apart.
    """
    numbers = [_number(found) for found in _matches(text)]
    if splits_times:
        return numbers
    return [
        replace(each, parts=()) if any(reading.startswith("time") for reading in each.readings) else each
        for each in numbers
    ]


def number_places(text: str) -> list[tuple[int, int]]:
    """Start and end of each number of ``text``."""
    return [found.span("plain" if found["plain"] else 0) for found in _matches(_ascii_digits(text))]


def _matches(text: str) -> Iterator[re.Match[str]]:
    end = 0
    while (digit := _DIGIT.search(text, end)) is not None:
        start = digit.start()
        found = _NUMBER.match(text, start - 1) if text[end:start][-1:] in ("+", "(") else None
        found = found or _NUMBER.match(text, start)
        end = start + 1 if found is None else found.end()
        if found is not None:
            yield found


def _number(found: re.Match[str]) -> WrittenNumber:
    if found["year"] or found["han_year"]:
        names = ("year", "month", "day") if found["year"] else ("han_year", "han_month", "han_day")
        return _date(*(found[name] for name in names))
    if found["last"]:
        return _date(found["last"], found["first"], found["second"], is_ambiguous=True)
    if found["hour"]:
        return _time(found)
    if found["phone"]:
        return WrittenNumber(frozenset({re.sub(r"\D", "", found["phone"])}))
    readings = _readings(found["plain"], found["group"])
    scale = (found["scale"] or "").strip().lower()
    values = [Decimal(each) for each in readings if _DECIMAL.fullmatch(each)] if scale else []
    if scale == "折":  # 75折 is 25 % off, and so is 7.5折
        readings |= {_normal(100 - each * (10 if each < 10 else 1)) for each in values}
    else:
        readings |= {_normal(each * _SCALES[scale]) for each in values}
    return WrittenNumber(frozenset(readings))


def _date(year: str, month: str, day: str, *, is_ambiguous: bool = False) -> WrittenNumber:
    """A date; an ambiguous one may have its month and day the other way round."""
    month, day = _unpadded(month), _unpadded(day)
    readings = {f"date {year}-{month}-{day}"} | ({f"date {year}-{day}-{month}"} if is_ambiguous else set())
    return WrittenNumber(frozenset(readings), (year, month, day))


def _time(found: re.Match[str]) -> WrittenNumber:
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second_of"] or 0)
    before = _MARK_BEFORE.search(found.string, max(0, found.start() - 4), found.start())
    mark = (before[1] if before else found["after"] or "").lower()
    hours = {hour, hour + 12} if not mark and hour <= 12 else {hour}
    if mark:
        hours = {hour % 12 + 12 if mark in _AFTERNOON else hour % 12}
    parts = [str(hour), str(minute)] + ([str(second)] if second else [])
    return WrittenNumber(
        frozenset(f"time {each % 24}:{minute}:{second}" for each in hours),
        tuple(part for part in parts if part != "0"),
    )


def _readings(written: str, group: str | None) -> set[str]:
    """What a number with separators may mean, in ASCII digits with a decimal point."""
    separators = re.findall(r"\D", written)
    if not separators:
        return {_unpadded(written)}
    readings = set()
    whole, _, fraction = written.rpartition(separators[-1])
    if len(separators) == 1 or separators[-1] not in separators[:-1]:
        digits = re.sub(r"\D", "", whole)
        # 5.00 is 5, since prices are rounded; any other fraction is kept, zeros included
        readings.add(_unpadded(digits) if fraction == "00" else f"{_unpadded(digits)}.{fraction}")
    if len(fraction) == 3 and len(set(separators)) == 1 and whole.strip("0"):
        readings.add(re.sub(r"\D", "", written))
    return readings or {written}


def _unmatched(
    read: Sequence[WrittenNumber], written: Sequence[WrittenNumber]
) -> tuple[list[WrittenNumber], list[WrittenNumber]]:
    """The numbers of each side that have no equal on the other one.

    A date or a time is taken apart, unless the other side has another date or time.
    """
    missing, added = _pair(read, written)
    if any(each.parts for each in missing) == any(each.parts for each in added):
        return missing, added
    return _pair(_apart(missing), _apart(added))


def _pair(
    read: Iterable[WrittenNumber], written: Iterable[WrittenNumber]
) -> tuple[list[WrittenNumber], list[WrittenNumber]]:
    missing, added = [], list(written)
    for each in sorted(read, key=lambda number: len(number.readings)):
        equal = next((other for other in added if other.readings & each.readings), None)
        if equal is None:
            missing.append(each)
        else:
            added.remove(equal)
    return missing, added


def _apart(numbers: Iterable[WrittenNumber]) -> list[WrittenNumber]:
    """``numbers``, with the parts of dates and times in place of them."""
    apart: list[WrittenNumber] = []
    for each in numbers:
        parts = [WrittenNumber(frozenset({part}), is_part=True) for part in each.parts]
        apart += parts or [each]
    return apart


def _unexplained(numbers: Sequence[WrittenNumber], text: str, language: str) -> bool:
    """Whether one of ``numbers`` is not written in words in ``text`` either."""
    return not all(
        any(
            is_spelled(reading, text, language, articles=not each.is_part)
            or is_month_named(reading, text, language)
            for reading in each.readings
        )
        for each in numbers
    )


def _ascii_digits(text: str) -> str:
    if text.isascii() or not _FOREIGN_DIGIT.search(text):
        return text
    return "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character for character in text
    )


def _without_group_spaces(text: str) -> str:
    return _SPACED_GROUPS.sub(lambda found: found.group().replace(" ", ""), text)


def _unpadded(digits: str) -> str:
    return str(int(digits)) if len(digits) <= _UNPADDED else digits


def _normal(value: Decimal) -> str:
    return f"{value.normalize():f}"
