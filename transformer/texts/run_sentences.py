"""Cuts sentences out of a run of text with tags: which tags are within a sentence, and which at its edge. Pure.

Tags around a whole sentence are no part of it. A tag at its edge is, if the element's other tag is within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.normal_form import inner_range, normal_text
from transformer.texts.markup import InlineKind, InlineTag, TextRun
from transformer.texts.patterns import has_words


@dataclass(frozen=True, slots=True)
class RunSentence:
    """A sentence of a run, without outer white space."""

    low: int
    high: int
    """Range in the text of the run."""
    start: int
    end: int
    """Range in the source, with the tags that are within the sentence."""
    text_start: int
    text_end: int
    """Range of its text in the source."""
    first_tag: int
    last_tag: int
    """Range of the numbers of its tags in the run."""
    tags: tuple[InlineTag, ...]

    def space_before(self, source: str) -> Iterator[str]:
        """What is between the tags before its text: white space."""
        yield from self._between(source, self.start, self.text_start)

    def space_behind(self, source: str) -> Iterator[str]:
        """What is between the tags behind its text: white space."""
        yield from self._between(source, self.text_end, self.end)

    def _between(self, source: str, start: int, end: int) -> Iterator[str]:
        for tag in self.tags:
            if start <= tag.start and tag.end <= end:
                yield source[start : tag.start]
                start = tag.end
        yield source[start:end]


def sentence_in(
    run: TextRun, pairs: Mapping[int, int], low: int, high: int, first: int
) -> RunSentence | None:
    """The sentence in a range of a run's text; None if there are no words in it but those that are kept.

    Args:
        run: text with tags.
        pairs: the partners of the run's tags.
        low: of the range.
        high: of the range.
        first: number of the first tag that may be part of the sentence.
    """
    tags, next_high = run.tags, high
    start, end = inner_range(run.text[low:high])
    bounds = _without_kept_edges(run, first, low + start, low + end)
    if bounds is None:
        return None
    low, high = bounds
    while first < len(tags) and tags[first].offset <= low and not _begins(tags, pairs, first, low, high):
        if tags[first].offset == low and tags[first].kind is InlineKind.KEPT:
            break
        first += 1
    last = number = first
    behind = high + inner_range(run.text[high:next_high])[0]
    while number < len(tags) and tags[number].offset <= behind:
        if tags[number].offset < high or _ends(tags, pairs, number, low, high):
            last = number + 1
        number += 1
    text_start, text_end = run.source_start(low), run.source_end(high)
    inner = tuple(tags[first:last])
    begin = min([text_start, *(inner[0].start for _ in inner[:1])])
    finish = max([text_end, *(inner[-1].end for _ in inner[:1])])
    return RunSentence(low, high, begin, finish, text_start, text_end, first, last, inner)


def placed_in(normal: str, text: str, sentence: RunSentence) -> list[InlineTag]:
    """The tags of a sentence with their places in its normal form.

    Args:
        normal: of ``text``.
        text: of the sentence.
        sentence: with tags placed in the text of their run.
    """
    places = sorted({at for tag in sentence.tags for at in (tag.offset, max(tag.text_end, tag.offset))})
    found: dict[int, int] = {}
    at = length = 0
    for place in places:
        inner = min(max(place - sentence.low, 0), len(text))
        if normal == text:
            found[place] = inner
            continue
        # A letter at each side keeps the white space between what is before and behind.
        length += len(normal_text(f"x{text[at:inner]}x")) - 2
        at = inner
        found[place] = min(length, len(normal))
    return [
        replace(
            tag, offset=found[tag.offset], text_end=found.get(tag.text_end, -1) if tag.text_end >= 0 else -1
        )
        for tag in sentence.tags
    ]


def _without_kept_edges(run: TextRun, first: int, low: int, high: int) -> tuple[int, int] | None:
    """A range without what is kept at its ends, apart by white space; None if no words are left."""
    kept = []
    while first < len(run.tags) and run.tags[first].offset < high:
        if run.tags[first].kind is InlineKind.KEPT and run.tags[first].offset >= low:
            kept.append(run.tags[first])
        first += 1
    begin, finish = 0, len(kept)
    while begin < finish and kept[begin].offset == low:
        end = kept[begin].text_end
        if end < high and not run.text[end].isspace():
            break
        low = end + inner_range(run.text[end:high])[0]
        begin += 1
    while finish > begin and kept[finish - 1].text_end == high:
        start = kept[finish - 1].offset
        if not run.text[start - 1].isspace():
            break
        high = low + inner_range(run.text[low:start])[1]
        finish -= 1
    words: list[str] = []
    at = low
    for tag in kept[begin:finish]:
        words.append(run.text[at : tag.offset])
        at = tag.text_end
    words.append(run.text[at:high])
    return (low, high) if has_words(normal_text("".join(words))) else None


def _begins(tags: Sequence[InlineTag], pairs: Mapping[int, int], number: int, low: int, high: int) -> bool:
    """Whether a tag before a sentence begins an element that ends within it."""
    other = pairs.get(number, -1)
    return other > number and low < tags[other].offset < high


def _ends(tags: Sequence[InlineTag], pairs: Mapping[int, int], number: int, low: int, high: int) -> bool:
    """Whether a tag behind a sentence ends an element that begins within it."""
    other = pairs.get(number, number)
    return other < number and low < tags[other].offset < high
