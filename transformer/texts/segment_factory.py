"""Makes the segments of one request's texts: their sentences, and one work item for all equal ones. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from protocol.normal_form import normal_text
from protocol.translation_spec import TagForm
from transformer.texts.bounds import TextBounds
from transformer.texts.caller_placeholders import CallerPlaceholders
from transformer.texts.documents import Segment, Writing
from transformer.texts.glossary import GlossaryMatcher
from transformer.texts.languages import LanguagePair
from transformer.texts.patterns import has_words
from transformer.texts.prompt_options import PromptOptions
from transformer.texts.sentences import split_sentences
from transformer.texts.terms import Term, overlapping
from transformer.texts.work_item import WorkItem

Sentence = tuple[str, bool]
"""A sentence, and whether no white space is between it and the one before."""


@dataclass(slots=True)
class SegmentFactory:
    """What the texts of one request share."""

    is_whole: Callable[[str], bool]
    """Whether a text is translated as one."""
    glossaries: GlossaryMatcher
    options: tuple[tuple[str, str], ...]
    """As of :class:`transformer.texts.work_item.WorkItem`."""
    bounds: TextBounds
    placeholders: CallerPlaceholders | None
    prompt_options: PromptOptions | None = None
    """Context and formality; None for none."""
    tag_forms: Mapping[tuple[str, str], TagForm] = field(default_factory=dict)
    """Of the release, by language pair."""
    fits: Callable[[str], bool] = lambda _: True
    """Whether the release takes a text as one."""
    _items: dict[WorkItem, WorkItem] = field(default_factory=dict)
    _parts: int = 0
    """Of all texts that have been split so far."""
    _helping: int = 0
    """Items that help to place tags."""

    def sentences_of(self, text: str, normal: str, pair: LanguagePair) -> list[str]:
        """The sentences of ``text``; empty if it is translated as one.

        Args:
            text: any text.
            normal: its normal form.
            pair: of languages.
        """
        if self.is_whole(normal):
            return []
        sentences = split_sentences(text, pair.source)
        self.count_parts(len(sentences))
        return sentences

    def count_parts(self, parts: int) -> None:
        """Raise TooManyParts if the request's texts come to too many with these."""
        self._parts += parts
        self.bounds.check_parts(self._parts)

    def segment(
        self, index: int, sentence: Sentence, pair: LanguagePair, writing: Writing = Writing.TEXT
    ) -> str | Segment:
        """The segment of a sentence; the sentence itself if it holds no words.

        Args:
            index: of the text.
            sentence: a sentence, and whether it adjoins the one before.
            pair: of languages.
            writing: how its translation is written.
        """
        text, adjoins = sentence
        normal = normal_text(text)
        if not has_words(normal):
            return text
        return Segment(text, text, self.item(index, normal, pair), writing, adjoins)

    def item(
        self,
        index: int,
        normal: str,
        pair: LanguagePair,
        kept: Sequence[Term] = (),
        *,
        is_tagged: bool = False,
    ) -> WorkItem:
        """The request's one item of a text and a pair.

        Args:
            index: of the text in the request.
            normal: what is translated, in normal form.
            pair: of languages.
            kept: what must survive in its translation.
            is_tagged: whether it has tags in the form of the release.
        """
        self.bounds.check_segment(index, normal)
        terms = self.glossaries.terms(normal, pair.source, pair.target)
        if own := self.placeholders.terms(normal) if self.placeholders else ():
            kept = [*kept, *(term for term in own if not overlapping(kept, term.start, term.end))]
            kept.sort(key=lambda term: term.start)
        if kept:
            others = [term for term in terms if not overlapping(kept, term.start, term.end)]
            terms = tuple(sorted([*kept, *others], key=lambda term: term.start))
        if self.prompt_options is None:
            item = WorkItem(
                normal, pair.source, pair.target, terms, self.options, index=index, is_tagged=is_tagged
            )
        else:
            tags = (pair.source, pair.target)
            context = self.prompt_options.context_of(index, tags)
            formality = self.prompt_options.formality_of(tags)
            item = WorkItem(
                normal, *tags, terms, self.options, context, formality, index, is_tagged=is_tagged
            )
        return self._items.setdefault(item, item)

    def helping_item(
        self, index: int, text: str, pair: LanguagePair, *, is_tagged: bool = False
    ) -> WorkItem | None:
        """An item whose translation helps to place tags; None if there are too many, or without words.

        Args:
            index: of the text in the request.
            text: what is translated.
            pair: of languages.
            is_tagged: as of :meth:`item`.
        """
        normal = normal_text(text)
        if self._helping >= self.bounds.max_texts or not has_words(normal):
            return None
        if is_tagged and not self.fits(normal):  # it is longer than the sentence
            return None
        self._helping += 1
        return self.item(index, normal, pair, is_tagged=is_tagged)


def joined(sentences: Iterable[str]) -> Iterator[Sentence]:
    """Sentences, each with whether no white space is between it and the one before."""
    adjoins = False
    for sentence in sentences:
        yield sentence, adjoins and not sentence[:1].isspace()
        adjoins = not sentence[-1:].isspace()


def merged(parts: Iterable[str | Segment]) -> tuple[str | Segment, ...]:
    """``parts`` without empty ones, and with neighbouring strings as one."""
    found: list[str | Segment] = []
    kept: list[str] = []
    for part in parts:
        if isinstance(part, str):
            kept.append(part)
            continue
        if text := "".join(kept):
            found.append(text)
        kept = []
        found.append(part)
    if text := "".join(kept):
        found.append(text)
    return tuple(found)
