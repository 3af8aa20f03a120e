"""Other translations of texts: what the model might have written instead, by sampling."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from protocol.messages import SamplingParams
from transformer.generation.generator import Generator
from transformer.request_context import RequestContext
from transformer.texts.documents import MARKUP, Document, Segment, translation_of
from transformer.texts.work_item import WorkItem, WorkResult

MAX_ALTERNATIVES = 3
"""Of one text."""
_ROUNDS = ((1.0, 0.95), (1.6, 0.98))
"""Temperature and top_p. At the first a model that is sure of itself writes the same text again."""

Results = Mapping[WorkItem, WorkResult]


class AlternativeTranslations:
    """Finds other translations. Keeps no state of any request."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def find(
        self, documents: Sequence[Document], results: Results, count: int, context: RequestContext
    ) -> list[tuple[str, ...]]:
        """Up to ``count`` other translations of each document; all differ from each other and from the first one.

        Each text is generated ``count`` times, and as often again if that gave too few. What a guard flags is left
        out, and what fails is missing: the caller has a translation.

        Args:
            documents: of a request.
            results: of all their items.
            count: wanted of each document.
            context: of the request.
        """
        found = [_Found(document, results) for document in documents]
        for number, (temperature, top_p) in enumerate(_ROUNDS):
            open_ones = [each for each in found if each.is_open(count)]
            items = list(dict.fromkeys(item for each in open_ones for item in each.items))
            if not items:
                break
            seeds = range(number * count + 1, (number + 1) * count + 1)
            samples = await asyncio.gather(
                *(
                    self._generator.sample(items, SamplingParams(temperature, top_p, seed), context)
                    for seed in seeds
                )
            )
            for each in open_ones:
                each.add(samples)
        return [each.texts(count) for each in found]


class _Found:
    """What was found for one document."""

    def __init__(self, document: Document, results: Results) -> None:
        self.items = [part.item for part in document.parts if isinstance(part, Segment)]
        self._document = document
        self._results = results
        self._first = translation_of(document, results)
        self._texts: dict[str, None] = {self._first.text.strip(): None}

    def is_open(self, count: int) -> bool:
        """Whether more are wanted and possible."""
        return bool(self.items) and self._first.error is None and len(self._texts) <= count

    def add(self, samples: Sequence[Results]) -> None:
        """Take what is new; an item that a sample lacks has its first translation."""
        for sample in samples:
            own = {item: sample[item] for item in self.items if item in sample}
            translation = translation_of(self._document, {**self._results, **own})
            if MARKUP in self._first.flags or MARKUP not in translation.flags:
                self._texts[translation.text.strip()] = None

    def texts(self, count: int) -> tuple[str, ...]:
        """Those found, without the first translation."""
        return tuple(self._texts)[1 : count + 1]
