"""Puts the tags of a sentence into its translation, around what corresponds to what they enclosed. Pure.

The model translates the sentence without its tags. A span is found in the answer by its own translation, which the
model made of its text alone; by the difference to the translation of the sentence without it; or by the part of its
own translation that the answer contains. A span that is found in none of these ways is put where it stood in the
sentence, at the nearest ends of words. The result holds each tag once, nested as in the sentence, whatever was found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate

from protocol.normal_form import inner_range
from transformer.texts.inline_tags import InlineSpan, SpanKind, is_inside_word, whole_words
from transformer.texts.work_item import WorkItem

_ENCLOSING = (SpanKind.ELEMENT, SpanKind.BEGUN, SpanKind.UNENDED)
_POINTS = (SpanKind.POINT, SpanKind.ORDERED, SpanKind.SILENT)
_UNSPACED = r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"(?:(?![{_UNSPACED}])[^\W_])+|\s+|.", re.DOTALL)
"""The words of a text, its spaces and its signs; in scripts without spaces each letter is one."""
_JOINED = re.compile(r"[\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_CLOSINGS = dict(zip("(（[【{「『《“‘«„", ")）]】}」』》”’»“", strict=True))
"""Closing brackets by opening ones."""
_OPENINGS = {closing: opening for opening, closing in _CLOSINGS.items()}
_OUTER = " \u00a0\u3000.,;:!?。，；：！？、…"
MAX_WORDS = 256
"""Words of two texts whose longest common part is searched, which takes as many steps as both have, multiplied."""
_MAX_ALIGNED = 64
"""Words of two texts that are compared everywhere, which may take the third power of that; in longer ones only what
is between the same beginning and the same end counts as different."""

_MAX_ENDING = 2
"""Letters of an ending."""
CERTAIN = 1.0
_BY_DIFFERENCE = 0.8
_BY_PART = 0.6
_CONFIRMED = 0.9
_SURE = 0.5
"""A span that was found with less is not surely in the right place."""
_MIN_PART = 0.3
"""Share of a span's own translation that the answer must contain."""


@dataclass(frozen=True, slots=True)
class PlacedTags:
    """A translation with its tags."""

    parts: tuple[str | int, ...]
    """Text, and the numbers of tags, in order; each tag once."""
    is_sure: bool
    """Whether each tag that a reader sees is where its text's translation was found."""


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    end: int
    score: float


def place_tags(
    text: str, spans: Sequence[InlineSpan], answer: str, translations: Mapping[WorkItem, str]
) -> PlacedTags:
    """``answer`` with the tags of ``spans``.

    Args:
        text: of the sentence, without its tags.
        spans: of the sentence.
        answer: its translation.
        translations: of the spans' own texts, as far as they are known.
    """
    placement = _Placement(text, answer, translations)
    parts = [part for part in placement.put(spans, 0, len(answer), 0, len(text)) if part != ""]
    return PlacedTags(tuple(parts), not placement.guessed)


def uncertain_items(
    text: str, spans: Sequence[InlineSpan], answer: str, translations: Mapping[WorkItem, str]
) -> list[WorkItem]:
    """The texts whose translations would help to place what is not found by its own; arguments as above."""
    placement = _Placement(text, answer, translations)
    for _ in placement.put(spans, 0, len(answer), 0, len(text)):
        pass
    return [
        span.without
        for span in placement.uncertain
        if span.without is not None and span.without not in translations
    ]


def tag_numbers(spans: Sequence[InlineSpan]) -> Iterator[int]:
    """The numbers of all tags of ``spans``, in the order of the sentence."""
    for span in spans:
        if span.opening is not None:
            yield span.opening
        yield from tag_numbers(span.children)
        if span.closing is not None:
            yield span.closing


class _Placement:
    """Places the tags of one answer."""

    def __init__(self, text: str, answer: str, translations: Mapping[WorkItem, str]) -> None:
        self._text = text
        self._answer = answer
        self._translations = translations
        self._folded = answer.lower() if len(answer.lower()) == len(answer) else answer
        self.uncertain: list[InlineSpan] = []
        """Spans that were not found by their own translation."""
        self.guessed = False
        """Whether a tag that a reader sees was placed by its position."""

    def put(
        self, spans: Sequence[InlineSpan], start: int, end: int, source_start: int, source_end: int
    ) -> Iterator[str | int]:
        """The parts of a range of the answer that holds ``spans`` and nothing else that is tagged.

        Args:
            spans: of one level.
            start: of the range in the answer.
            end: of the range in the answer.
            source_start: of the range in the sentence.
            source_end: of the range in the sentence.
        """
        places = self._places(spans, start, end, source_start, source_end)
        order = sorted(
            zip(places, spans, strict=True), key=lambda each: (each[0].start, each[0].end, each[1].start)
        )
        at = start
        for place, span in order:
            yield self._answer[at : place.start]
            at = place.end
            if span.opening is not None:
                yield span.opening
            if span.kind in _ENCLOSING:
                yield from self.put(span.children, place.start, place.end, span.start, span.end)
            else:
                yield from tag_numbers(span.children)
            if span.closing is not None:
                yield span.closing
        yield self._answer[at:end]

    def _places(
        self, spans: Sequence[InlineSpan], start: int, end: int, source_start: int, source_end: int
    ) -> list[_Place]:
        """The place of each span: within the range, and none overlapping another."""
        found: dict[int, _Place] = {}
        candidates = sorted(
            (
                (candidate, number)
                for number, span in enumerate(spans)
                if span.kind not in _POINTS
                for candidate in self._candidates(span, start, end, source_start, source_end)
            ),
            key=lambda each: (-each[0].score, -(each[0].end - each[0].start)),
        )
        for candidate, number in candidates:
            if number not in found:
                place = self._stretched(candidate, spans[number], start, end)
                if not any(place.start < other.end and other.start < place.end for other in found.values()):
                    found[number] = place
        for number, span in enumerate(spans):
            if span.kind not in _POINTS:
                if number not in found or found[number].score < CERTAIN:
                    self.uncertain.append(span)
                self.guessed = self.guessed or number not in found or found[number].score < _SURE
                if number not in found:
                    found[number] = self._guess(span, spans, found, (start, end), (source_start, source_end))
        self._place_points(spans, found, (start, end), (source_start, source_end))
        return [found[number] for number in range(len(spans))]

    def _stretched(self, place: _Place, span: InlineSpan, start: int, end: int) -> _Place:
        """``place`` up to the edge of its range, where the span reaches beyond the sentence."""
        if span.kind is SpanKind.BEGUN:
            return _Place(start, place.end, place.score)
        return _Place(place.start, end, place.score) if span.kind is SpanKind.UNENDED else place

    def _candidates(
        self, span: InlineSpan, start: int, end: int, source_start: int, source_end: int
    ) -> Iterator[_Place]:
        """Where the span's translation may be, with how sure that is."""
        inner = self._text[span.start : span.end]
        if whole_words(self._text, span.start, span.end) == whole_words(self._text, source_start, source_end):
            low, high = inner_range(self._answer[start:end])
            yield _Place(start + low, start + high, CERTAIN)
            return
        if is_inside_word(self._text, span.start) or is_inside_word(self._text, span.end):
            yield from self._inside_words(span, start, end)
            return
        own = "" if span.alone is None else self._translations.get(span.alone, "")
        ratio = self._ratio(span, start, end, source_start, source_end)
        for wanted in dict.fromkeys([own[slice(*_core_of(own))], inner.strip()]):
            yield from self._occurrences(wanted, start, end, ratio)
        if span.kind is SpanKind.KEPT:
            return
        changed = self._difference(span, start, end)
        if changed is not None:
            yield changed
        part = self._longest_part(own, start, end)
        if part is not None:
            agrees = changed is not None and part.start < changed.end and changed.start < part.end
            yield _Place(
                part.start, part.end, _CONFIRMED if agrees and part.score == 1 else _BY_PART * part.score
            )

    def _inside_words(self, span: InlineSpan, start: int, end: int) -> Iterator[_Place]:
        """Places of a span that begins or ends inside a word: there, if the answer has the same word."""
        low, high = whole_words(self._text, span.start, span.end)
        words = self._text[low:high]
        at = self._answer.find(words, start, end)
        if at >= 0:
            yield _Place(at + span.start - low, at + span.end - low, CERTAIN)
            return
        own = "" if span.alone is None else self._translations.get(span.alone, "")
        ratio = (low + high) / 2 / max(len(self._text), 1)
        for place in self._occurrences(own, start, end, ratio):
            yield _Place(place.start, place.end, place.score - 0.01)

    def _ratio(self, span: InlineSpan, start: int, end: int, source_start: int, source_end: int) -> float:
        return ((span.start + span.end) / 2 - source_start) / max(source_end - source_start, 1)

    def _occurrences(self, wanted: str, start: int, end: int, ratio: float) -> Iterator[_Place]:
        """Whole words of a range of the answer that are ``wanted``, the nearest to ``ratio`` of the range first.

        The last word may have a longer ending there, as in the plural.
        """
        if not wanted:
            return
        found: list[tuple[int, int, int]] = []
        folded = wanted.lower() if len(wanted.lower()) == len(wanted) else wanted
        at = self._folded.find(folded, start, end)
        while at >= 0 and len(found) < 64:
            behind = at + len(wanted)
            ending = 0
            while (
                ending <= _MAX_ENDING
                and behind + ending < end
                and is_inside_word(self._answer, behind + ending)
            ):
                ending += 1
            if ending <= _MAX_ENDING and not is_inside_word(self._answer, at):
                found.append((at, behind + ending, ending))
            at = self._folded.find(folded, at + 1, end)
        middle = start + ratio * (end - start)
        found.sort(key=lambda each: (each[2], abs(each[0] + len(wanted) / 2 - middle)))
        for rank, (low, high, ending) in enumerate(found):
            yield _Place(low, high, CERTAIN + 1e-6 * len(wanted) - 1e-7 * ending - 1e-9 * rank)

    def _difference(self, span: InlineSpan, start: int, end: int) -> _Place | None:
        """What the answer has and the translation of the sentence without the span has not."""
        other = None if span.without is None else self._translations.get(span.without)
        words, others = _WORDS.findall(self._answer), _WORDS.findall(other or "")
        if not others:
            return None
        offsets = [0, *accumulate(map(len, words))]
        new = [(offsets[low], offsets[high]) for low, high in _new_ranges(words, others)]
        trimmed = [
            self._trimmed(max(low, start), min(high, end)) for low, high in new if low < end and high > start
        ]
        trimmed = [(low, high) for low, high in trimmed if high > low]
        if not trimmed:
            return None
        low, high = max(trimmed, key=lambda each: each[1] - each[0])
        share = (high - low) / sum(b - a for a, b in trimmed)
        if share < 0.5 or high - low > 0.8 * (end - start):
            return None
        return _Place(low, high, _BY_DIFFERENCE * share)

    def _trimmed(self, start: int, end: int) -> tuple[int, int]:
        """A range of the answer without outer white space and punctuation."""
        low, high = _core_of(self._answer[start:end])
        return start + low, start + high

    def _longest_part(self, own: str, start: int, end: int) -> _Place | None:
        """The longest run of words that ``own`` and a range of the answer have in common."""
        words, others = _WORDS.findall(self._answer[start:end]), _WORDS.findall(own)
        if not others or max(len(words), len(others)) > MAX_WORDS:
            return None
        match = SequenceMatcher(
            None, [word.lower() for word in words], [word.lower() for word in others], autojunk=False
        ).find_longest_match()
        low = start + sum(map(len, words[: match.a]))
        low, high = self._trimmed(low, low + sum(map(len, words[match.a : match.a + match.size])))
        if not any(map(str.isalnum, self._answer[low:high])):
            return None
        share = (high - low) / max(len(own[slice(*_core_of(own))]), 1)
        if share < _MIN_PART:
            return None
        return _Place(low, high, min(share, 1.0))

    def _guess(
        self,
        span: InlineSpan,
        spans: Sequence[InlineSpan],
        found: Mapping[int, _Place],
        within: tuple[int, int],
        source: tuple[int, int],
    ) -> _Place:
        """A place for a span that was not found: the words in the same part of the free text around it."""
        gaps = _gaps(list(found.values()), *within)
        scale = (within[1] - within[0]) / max(source[1] - source[0], 1)
        low = within[0] + (span.start - source[0]) * scale
        high = within[0] + (span.end - source[0]) * scale
        if span.kind is SpanKind.BEGUN:
            edge = min([within[1], *(place.start for place in found.values())])
            return _Place(within[0], self._word_end(min(round(high), edge), within[0], edge), 0.0)
        if span.kind is SpanKind.UNENDED:
            edge = max([within[0], *(place.end for place in found.values())])
            return _Place(self._word_end(max(round(low), edge), edge, within[1]), within[1], 0.0)
        gap = min(gaps, key=lambda each: (max(0, each[0] - low, low - each[1]), each[0] - each[1]))
        start = self._word_end(min(max(round(low), gap[0]), gap[1]), *gap)
        end = self._word_end(min(max(round(high), start), gap[1]), start, gap[1])
        if span.kind is SpanKind.KEPT:
            return _Place(start, start, 0.0)
        return _Place(*self._trimmed(start, end), 0.0) if start < end else _Place(start, start, 0.0)

    def _place_points(
        self,
        spans: Sequence[InlineSpan],
        found: dict[int, _Place],
        within: tuple[int, int],
        source: tuple[int, int],
    ) -> None:
        """Add the places of points to ``found``: never within the place of another span."""
        taken = list(found.values())
        placed = [(spans[number], place) for number, place in found.items() if place.score > 0]
        latest = within[0]
        scale = (within[1] - within[0]) / max(source[1] - source[0], 1)
        for number, span in enumerate(spans):
            if span.kind not in _POINTS:
                continue
            at = self._point_beside(span, placed, within, source)
            if at is None:
                at = self._word_end(round(within[0] + (span.start - source[0]) * scale), *within)
                self.guessed = self.guessed or span.kind is not SpanKind.SILENT
            if span.kind is not SpanKind.POINT and at < latest:
                at = latest
                self.guessed = self.guessed or span.kind is not SpanKind.SILENT
            at = next((other.start for other in taken if other.start < at < other.end), at)
            if span.kind is not SpanKind.POINT:
                if at < latest:
                    at = next(other.end for other in taken if other.start < latest <= other.end)
                latest = at
            found[number] = _Place(at, at, 0.0)

    def _point_beside(
        self,
        span: InlineSpan,
        placed: Sequence[tuple[InlineSpan, _Place]],
        within: tuple[int, int],
        source: tuple[int, int],
    ) -> int | None:
        """The place of a point by what stands beside it; None if that is not found."""
        if span.start <= source[0]:
            return within[0]
        if span.start >= source[1]:
            return within[1]
        for other, place in placed:
            if _adjoins(self._text, other.end, span.start):
                return place.end
            if _adjoins(self._text, span.start, other.start):
                return place.start
        ratio = (span.start - source[0]) / max(source[1] - source[0], 1)
        before = "" if span.alone is None else self._translations.get(span.alone, "")
        behind = "" if span.without is None else self._translations.get(span.without, "")
        for wanted, is_before in ((before, True), (behind, False)):
            for place in self._occurrences(wanted[slice(*_core_of(wanted))], *within, ratio):
                return place.end if is_before else place.start
        return None

    def _word_end(self, at: int, low: int, high: int) -> int:
        """The place nearest to ``at``, from ``low`` to ``high``, that is inside no word or character."""
        for distance in range(max(at - low, high - at, 0) + 1):
            for place in (at - distance, at + distance):
                if low <= place <= high and not self._is_inside(place):
                    return place
        return low

    def _is_inside(self, place: int) -> bool:
        if not 0 < place < len(self._answer):
            return False
        following = self._answer[place]
        return (
            is_inside_word(self._answer, place)
            or unicodedata.combining(following) > 0
            or _JOINED.match(following) is not None
            or self._answer[place - 1] == "\u200d"
        )


def _new_ranges(words: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The ranges of ``words`` that ``others`` has not."""
    folded, plain = [word.lower() for word in words], [word.lower() for word in others]
    if max(len(folded), len(plain)) <= _MAX_ALIGNED:
        for kind, low, high, _, _ in SequenceMatcher(None, folded, plain, autojunk=False).get_opcodes():
            if kind in ("delete", "replace"):
                yield low, high
        return
    shorter = min(len(folded), len(plain))
    start = next((at for at in range(shorter) if folded[at] != plain[at]), shorter)
    same = next((at for at in range(shorter - start) if folded[-1 - at] != plain[-1 - at]), shorter - start)
    if start < len(folded) - same:
        yield start, len(folded) - same


def _core_of(text: str) -> tuple[int, int]:
    """The range of ``text`` without outer white space, punctuation, and brackets whose other one is not in it."""
    start, end = 0, len(text)
    while start < end:
        first, last = text[start], text[end - 1]
        inner = text[start:end]
        if first in _OUTER or (first in _CLOSINGS and _CLOSINGS[first] not in inner):
            start += 1
        elif last in _OUTER or (last in _OPENINGS and _OPENINGS[last] not in inner):
            end -= 1
        else:
            break
    return start, end


def _adjoins(text: str, start: int, end: int) -> bool:
    """Whether nothing but white space is between two places of the sentence."""
    return start <= end and not text[start:end].strip()


def _gaps(places: Sequence[_Place], start: int, end: int) -> list[tuple[int, int]]:
    """The ranges from ``start`` to ``end`` that no place takes; there is always one, if an empty one."""
    gaps: list[tuple[int, int]] = []
    at = start
    for place in sorted(places, key=lambda place: (place.start, place.end)):
        gaps.append((at, place.start))
        at = place.end
    return [*gaps, (at, end)]
