"""The normal form of a text: the one that is translated, cached, compared, and searched for glossary terms. Pure.

Unicode NFC, without invisible characters that do not change words, and with single spaces.
"""

from __future__ import annotations

import re
import unicodedata

_LONG_TEXT = 1_000
"""Characters. In a shorter text the number of combining marks in a row does not matter."""
_MANY_MARKS = re.compile(rb"[^\0]{64,}")

_IGNORED = (
    r"\u00ad\u034f\u061c\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
)
"""Characters that are always left out: soft hyphen, zero-width space, marks of direction, byte order mark, and all
others of Default_Ignorable_Code_Point (Unicode 16, DerivedCoreProperties.txt) that no script and no emoji needs."""
_JOINERS = r"\u200c\u200d"
_SELECTORS = r"\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_EMOJI_TAGS = r"\U000e0020-\U000e007f"

_JOINED_SCRIPTS = (
    r"\u0600-\u08ff\ufb50-\ufdff\ufe70-\ufefc"  # Arabic, Syriac, NKo
    r"\u0900-\u0dff\u1cd0-\u1cff\ua8e0-\ua8ff"  # the scripts of India, Sinhala
    r"\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u0f00-\u0fff"  # Burmese, Khmer, Tibetan
    r"\u1800-\u18af\u1b00-\u1bff\ua840-\ua95f\ua980-\ua9df\uabc0-\uabff"  # Mongolian, Balinese, Javanese, Meetei
    r"\U00010d00-\U00010d3f\U00011000-\U00011fff\U0001e900-\U0001e95f"
)
"""Letters whose form or meaning a joiner changes."""
_EMOJI = (
    r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u2328\u232b-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030"
    r"\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_LEFT_OUT = tuple(
    map(
        re.compile,
        (
            rf"[{_IGNORED}]",
            # A variation selector after an emoji, a keycap's digit or a Mongolian letter stays; so do a flag's tags.
            rf"(?<![{_EMOJI}0-9#*\u1800-\u18af])[{_SELECTORS}]+|(?<![\U0001f3f4{_EMOJI_TAGS}])[{_EMOJI_TAGS}]+",
            # A joiner between two letters of such a script, or two emoji, stays.
            rf"(?<![{_JOINED_SCRIPTS}{_EMOJI}{_JOINERS}\ufe0f{_EMOJI_TAGS}])[{_JOINERS}]+"
            rf"|[{_JOINERS}]+(?![{_JOINED_SCRIPTS}{_EMOJI}{_JOINERS}])",
        ),
    )
)
_INVISIBLES = re.compile(rf"[{_IGNORED}{_JOINERS}{_SELECTORS}{_EMOJI_TAGS}]")
"""The characters above. None of them is ASCII."""
_LINE_BREAK = r"\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]"
"""Where :meth:`str.splitlines` splits."""
_UNEVEN_SPACES = re.compile(r"\s{2,}|[^\S ]")
"""White space that is not one space."""
_LINE_BREAKS = re.compile(_LINE_BREAK)
_OUTER = rf"[\s{_IGNORED}{_JOINERS}]"
_LEAD = re.compile(rf"{_OUTER}*")


def normal_text(text: str) -> str:
    """``text`` in its normal form: without outer white space, and with one space for each run of it inside.

    Line breaks stay, as line feeds: a text that is translated whole may have several lines.
    """
    is_ascii = text.isascii()
    if not is_ascii and _INVISIBLES.search(text):
        for invisible in _LEFT_OUT:
            text = invisible.sub("", text)
    text = text.strip()
    if not text.isprintable() or "  " in text:
        text = _UNEVEN_SPACES.sub(_one_space, text)
    if is_ascii:
        return text
    if len(text) > _LONG_TEXT:
        text = _with_sorted_marks(text)
    return unicodedata.normalize("NFC", text)


def inner_range(text: str) -> tuple[int, int]:
    """Start and end of ``text`` without the white space and the invisible characters at both ends.

    Of a text of nothing else the range is empty, at its end.
    """
    found = _LEAD.match(text)
    start, end = found.end() if found else 0, len(text)
    while end > start and _LEAD.fullmatch(text[end - 1]):
        end -= 1
    return start, end


def _one_space(spaces: re.Match[str]) -> str:
    """The normal form of a run of white space."""
    return "\n" * len(_LINE_BREAKS.findall(spaces.group())) or " "


def _with_sorted_marks(text: str) -> str:
    """``text`` with long runs of combining marks in canonical order.

    The result has the same NFC. Without this, :func:`unicodedata.normalize` takes quadratic time for such runs.
    """
    classes = bytes(map(unicodedata.combining, text))
    parts: list[str] = []
    end = 0
    for run in _MANY_MARKS.finditer(classes):
        by_class: dict[int, list[str]] = {}
        for mark in text[run.start() : run.end()]:
            for part in unicodedata.normalize("NFD", mark):
                by_class.setdefault(unicodedata.combining(part), []).append(part)
        parts.append(text[end : run.start()])
        parts += [mark for _, marks in sorted(by_class.items()) for mark in marks]
        end = run.end()
    return "".join([*parts, text[end:]]) if parts else text
