"""Measures how much of a text is written in each script. Pure.

Scripts have ISO 15924 codes: ``Hani`` for Han characters of every language, ``Kana`` for both Japanese syllabaries,
and ``Zyyy`` for letters of scripts that are not in the table.
"""

from __future__ import annotations

import re
from functools import lru_cache

OTHER = "Zyyy"

_RANGES = {
    "Latn": r"A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02b8\u1d00-\u1dbf\u1e00-\u1eff\u2071\u207f"
    r"\u2090-\u209c\u212a-\u212b\u2c60-\u2c7f\ua722-\ua787\ua78b-\ua7ff\uab30-\uab64\ufb00-\ufb06"
    r"\uff21-\uff3a\uff41-\uff5a",
    "Grek": r"\u0370-\u03ff\u1f00-\u1fff\u2126",
    "Cyrl": r"\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "Armn": r"\u0530-\u058f\ufb13-\ufb17",
    "Hebr": r"\u0590-\u05ff\ufb1d-\ufb4f",
    "Arab": r"\u0600-\u06ff\u0750-\u077f\u0870-\u08ff\ufb50-\ufdff\ufe70-\ufeff",
    "Deva": r"\u0900-\u097f\ua8e0-\ua8ff",
    "Beng": r"\u0980-\u09ff",
    "Guru": r"\u0a00-\u0a7f",
    "Gujr": r"\u0a80-\u0aff",
    "Orya": r"\u0b00-\u0b7f",
    "Taml": r"\u0b80-\u0bff",
    "Telu": r"\u0c00-\u0c7f",
    "Knda": r"\u0c80-\u0cff",
    "Mlym": r"\u0d00-\u0d7f",
    "Sinh": r"\u0d80-\u0dff",
    "Thai": r"\u0e00-\u0e7f",
    "Laoo": r"\u0e80-\u0eff",
    "Tibt": r"\u0f00-\u0fff",
    "Mymr": r"\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Geor": r"\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2f",
    "Ethi": r"\u1200-\u139f\u2d80-\u2ddf\uab00-\uab2f",
    "Khmr": r"\u1780-\u17ff",
    "Hang": r"\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff\uffa0-\uffdc",
    "Kana": r"\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d\U0001aff0-\U0001b16f",
    "Hani": r"\u3005-\u3006\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f",
}
"""Ranges of each script (Unicode 15, Blocks.txt), as the inside of a regular expression's class. They are applied to
letters only, so other characters of a block do no harm. The Latin ranges hold only letters: they are applied to whole
texts."""

COMPATIBLE_SCRIPTS = {
    **{script: frozenset({script}) for script in _RANGES},
    "Hans": frozenset({"Hani"}),
    "Hant": frozenset({"Hani"}),
    "Jpan": frozenset({"Hani", "Kana"}),
    "Hira": frozenset({"Kana"}),
    "Hrkt": frozenset({"Kana"}),
    "Kore": frozenset({"Hang"}),
}
"""The scripts in which a text may be written, by the script that ``translation.json`` gives its language."""

_UNSPACED = ("Hani", "Kana", "Hang", "Thai", "Laoo", "Khmr", "Mymr", "Tibt")
"""Scripts without spaces between words, and Hangul, where particles are attached to the noun."""
_UNSPACED_LETTER = re.compile(f"[{''.join(_RANGES[script] for script in _UNSPACED)}]")
_JOINED_LETTER = re.compile(f"[{''.join(_RANGES[script] for script in _UNSPACED if script != 'Hang')}]")
"""A letter of a script that sets no words apart; Korean sets them apart."""
_WIDE_MARKS = "。！？｡、，；：（）「」『』【】《》…—"
"""Punctuation of full width, which brings its own space."""
_LETTERS = {script: re.compile(f"[{_RANGES[script]}]") for script in reversed(_RANGES)}
"""By script; Han comes first, after which a Chinese text has no letters left to look for."""
_LATIN_WORDS = re.compile(f"[{_RANGES['Latn']}]+(?:['’][{_RANGES['Latn']}]+)*")
_ASCII_TEXT = re.compile(r"[\x00-\x7f]*")

_EVIDENCE_PER_LETTER = {"Hani": 0.7, "Kana": 0.4, "Hang": 0.4, "Thai": 0.25, "Laoo": 0.25, "Khmr": 0.25}
"""Words per letter, where a letter carries more than in Latin. A Chinese word has about 1.5 characters."""
_EVIDENCE_PER_OTHER_LETTER = 0.2
_EVIDENCE_PER_NAME = 0.25
"""Weight of a Latin word with a capital letter or digit, or of one letter: brands, models and sizes (iPhone, USB, XL)
occur in texts of every language. A word in lower case is nearly always of the text's own language."""
_MOST_PER_LETTER = 0.7
"""The most that a letter of any script can count: that of Han; of Latin a word of two letters counts 1."""
_LATIN = frozenset({"Latn"})
_LATIN_TEXT = re.compile(r"[\x00-\xb4\xb6-\u024f\u2010-\u2044]*")
"""A text whose letters are all Latin: most texts of Latin scripts."""


def script_evidence(text: str) -> dict[str, float]:
    """The approximate number of words in each script. Empty if the text has no letters.

    Latin counts by word and others by letter, weighted so that ``iPhone 15 Pro Max 手机壳`` is Chinese and
    ``how to say 谢谢`` is English.
    """
    evidence: dict[str, float] = {}
    latin = sum(_word_evidence(word) for word in _LATIN_WORDS.findall(text))
    if latin:
        evidence["Latn"] = latin
    if _ASCII_TEXT.fullmatch(text):
        return evidence
    rest = "".join(filter(str.isalpha, _LATIN_WORDS.sub("", text)))
    for script, letters in _LETTERS.items():
        if not rest:
            break
        shorter = letters.sub("", rest)
        if len(shorter) < len(rest):
            per_letter = _EVIDENCE_PER_LETTER.get(script, _EVIDENCE_PER_OTHER_LETTER)
            evidence[script] = (len(rest) - len(shorter)) * per_letter
            rest = shorter
    if rest:
        evidence[OTHER] = len(rest) * _EVIDENCE_PER_OTHER_LETTER
    return evidence


def is_mostly_in(text: str, scripts: frozenset[str]) -> bool:
    """Whether ``scripts`` surely have more evidence in ``text`` than all others; computed faster than the evidence.

    False where that takes more than counting characters.
    """
    if scripts == _LATIN:
        return _LATIN_TEXT.fullmatch(text) is not None
    others = sum(map(str.isalpha, _characters_of(scripts).sub("", text)))
    least = min(_EVIDENCE_PER_LETTER.get(script, _EVIDENCE_PER_OTHER_LETTER) for script in scripts)
    return _MOST_PER_LETTER * others <= least * (sum(map(str.isalpha, text)) - others)


def has_letters(text: str) -> bool:
    """Whether :func:`script_evidence` is not empty, computed faster."""
    return any(map(str.isalpha, text)) or _LATIN_WORDS.search(text) is not None


def chinese_script(text: str) -> str:
    """``Hans`` or ``Hant``, by characters that exist only in GB 2312 or only in Big5; ``Hans`` if there are none."""
    simplified = traditional = 0
    for character in text:
        in_gb, in_big5 = _encodes(character, "gb2312"), _encodes(character, "big5")
        simplified += in_gb and not in_big5
        traditional += in_big5 and not in_gb
    return "Hant" if traditional > simplified else "Hans"


def is_spaced_letter(character: str) -> bool:
    """Whether ``character`` is a letter or digit of a script with spaces between words."""
    return character.isalnum() and not _UNSPACED_LETTER.match(character)


def needs_space(before: str, after: str) -> bool:
    """Whether one space stands between two sentences that are written one behind the other.

    It does if both set words apart: the last letter of the one and the first of the other are of such scripts.
    """
    if not (before and after) or before[-1].isspace() or after[0].isspace() or before[-1] in _WIDE_MARKS:
        return False
    last = next(filter(str.isalnum, reversed(before)), "")
    first = next(filter(str.isalnum, after), "")
    return bool(last and first) and not (_JOINED_LETTER.match(last) or _JOINED_LETTER.match(first))


@lru_cache(maxsize=64)
def _characters_of(scripts: frozenset[str]) -> re.Pattern[str]:
    """Runs of characters of these scripts."""
    return re.compile(f"[{''.join(_RANGES[script] for script in sorted(scripts))}]+")


def _word_evidence(word: str) -> float:
    return 1.0 if len(word) > 1 and word.islower() else _EVIDENCE_PER_NAME


def _encodes(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
