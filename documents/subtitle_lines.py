"""Text of a cue on a given number of lines. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate

_NO_BREAK_BEFORE = frozenset("，。、；：？！）】》」』”’…—,.;:?!)]}%ー々")
_NO_BREAK_BEHIND = frozenset("（【《「『“‘([{$¥€")
_PAUSES = frozenset("，。、；：？！,.;:?!")
_PAUSE_COLUMNS = 4
"""Columns that a line may be off for ending behind punctuation."""
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u3000-\u303f\uff01-\uff60]")
"""Characters of scripts without spaces between words, and their punctuation."""


def join_lines(lines: Sequence[str]) -> str:
    """Lines as one text: a space between them, but none between scripts that have none."""
    joined = lines[0] if lines else ""
    for line in lines[1:]:
        unspaced = joined and line and _UNSPACED.match(joined[-1]) and _UNSPACED.match(line[0])
        joined = f"{joined}{line}" if unspaced else f"{joined} {line}"
    return joined


def break_lines(text: str, count: int) -> list[str]:
    """``text`` on ``count`` lines of about one width; fewer where it has too few places to break.

    A wide character counts as two columns. Lines are broken at spaces, and between characters of scripts without
    spaces, but not before closing punctuation nor behind opening punctuation.
    """
    lines: list[str] = []
    rest = text.strip()
    for remaining in range(count, 1, -1):
        places = _breaks(rest)
        if not places:
            break
        # As many places stay as the lines behind need.
        place = _nearest(rest, places[: max(1, len(places) - remaining + 2)], _width(rest) / remaining)
        lines.append(rest[:place].rstrip())
        rest = rest[place:].lstrip()
    return [*lines, rest]


def _breaks(text: str) -> list[int]:
    """Places at which a line may end; one for each run of white space."""
    return [place for place in range(1, len(text)) if _may_break(text, place)]


def _nearest(text: str, places: Sequence[int], width: float) -> int:
    """The place whose line is nearest to ``width`` columns; one behind punctuation may be a little farther."""
    columns = [0, *accumulate(map(_columns, text))]

    def distance(place: int) -> float:
        return abs(columns[place] - width) - (_PAUSE_COLUMNS if text[place - 1] in _PAUSES else 0)

    return min(places, key=distance)


def _may_break(text: str, place: int) -> bool:
    before, behind = text[place - 1], text[place]
    if before.isspace() or behind.isspace():
        return not behind.isspace()  # one place for a run of white space
    if behind in _NO_BREAK_BEFORE or before in _NO_BREAK_BEHIND:
        return False
    return bool(_UNSPACED.match(before) or _UNSPACED.match(behind))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _width(text: str) -> int:
    return sum(map(_columns, text))
