"""The journey of a request: languages, cache, what must be generated, cache. Values in, values out.

It decides nothing itself: what can be decided without waiting lies in :mod:`transformer.segments`, and each neighbour
that is waited for (cache, generator) is passed in. It knows nothing of KServe (:mod:`transformer.model`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.messages import CacheStatus, TranslateRequest, TranslateResponse, Translation
from transformer.answers import Answer, translation_of
from transformer.attempts import Made
from transformer.cache import Cache, CacheEntry, look_up
from transformer.errors import PredictorTooLate
from transformer.generation import Generator, beside
from transformer.journey import Journey
from transformer.languages import Languages
from transformer.metrics import TransformerMetrics
from transformer.segments import Document, Identity, Job, jobs_of, split_request


class FitsTokenizer(Protocol):
    """What is asked of :class:`transformer.tokenizer.PromptTokenizer`."""

    def fits(self, text: str) -> bool:
        """Whether the release takes ``text`` as one."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may be."""

    max_texts: int
    max_deadline_ms: int
    """The deadline of requests that bring none, and the longest that one may bring."""
    split_always: bool = True
    """Whether every sentence is translated on its own, or only those of texts that the model cannot take whole."""


class Pipeline:
    """Translates under one release. Holds no state of any request."""

    def __init__(
        self,
        *,
        release: str,
        bounds: Bounds,
        languages: Languages,
        tokenizer: FitsTokenizer,
        cache: Cache,
        generator: Generator,
        metrics: TransformerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._release = release
        self._bounds = bounds
        self._languages = languages
        self._tokenizer = tokenizer
        self._cache = cache
        self._generator = generator
        self._metrics = metrics
        self._clock = clock

    async def translate(self, request: TranslateRequest, headers: Mapping[str, str]) -> TranslateResponse:
        """Translate all texts of a request, or raise.

        Args:
            request: as the caller sent it.
            headers: what travels on to the predictor.

        Raises:
            YiwenError: the request is not one for this release, or the predictor could not answer it in time.
        """
        journey = self._begin(request, headers)
        documents = await self._split(request)
        answers = await self._answers(jobs_of(documents), journey)
        translations = tuple(translation_of(document, answers) for document in documents)
        self._count(documents, translations)
        return TranslateResponse(translations, self._release)

    def _begin(self, request: TranslateRequest, headers: Mapping[str, str]) -> Journey:
        deadline_ms = min(request.deadline_ms or self._bounds.max_deadline_ms, self._bounds.max_deadline_ms)
        allowed_s = deadline_ms / 1000
        return Journey(headers, request.max_new_tokens, self._clock() + allowed_s, allowed_s)

    async def _split(self, request: TranslateRequest) -> list[Document]:
        return await beside(
            request.texts,
            lambda: split_request(request, self._languages, self._bounds.max_texts, self._whole),
        )

    def _whole(self, text: str) -> bool:
        """Whether a text is translated as one, whatever sentences it has."""
        return not self._bounds.split_always and self._tokenizer.fits(text)

    async def _answers(self, jobs: Sequence[Job], journey: Journey) -> dict[Identity, Answer]:
        """Each job's answer, by what its segments have in common."""
        wanted = [(job.key(self._release, journey.max_new_tokens), job.first.normal) for job in jobs]
        found = await look_up(self._cache, wanted, self._metrics)
        missing = [job for job, entry in zip(jobs, found, strict=True) if entry is None]
        made = iter(await self._generate(missing, journey) if missing else ())
        return {
            job.first.identity: next(made)
            if entry is None
            else Answer(entry.text, entry.confidence, CacheStatus.HIT)
            for job, entry in zip(jobs, found, strict=True)
        }

    async def _generate(self, jobs: Sequence[Job], journey: Journey) -> list[Answer]:
        """Generated answers in order; the good ones are cached, even when the deadline ends the rest."""
        made = await self._generator.generate(jobs, journey)
        complete = [(job, each) for job, each in zip(jobs, made, strict=True) if each is not None]
        await self._remember(complete, journey)
        if len(complete) < len(made):
            raise PredictorTooLate(journey.allowed_s)
        return [
            Answer(each.text, each.confidence, CacheStatus.MISS, each.finish_reason, each.flags, job.first)
            for job, each in complete
        ]

    async def _remember(self, made: Sequence[tuple[Job, Made]], journey: Journey) -> None:
        """Cache what no guard objects to. The generator has checked that it is of this release."""
        good = {
            job.key(self._release, journey.max_new_tokens): CacheEntry(
                job.first.normal, each.text, each.confidence
            )
            for job, each in made
            if not each.flags
        }
        if good:
            await self._cache.put_many(good)

    def _count(self, documents: Sequence[Document], translations: Sequence[Translation]) -> None:
        for document, translation in zip(documents, translations, strict=True):
            self._metrics.answered(
                source=translation.source,
                target=document.direction.target,
                cache=translation.cache,
                characters=len(document.text),
            )
