"""The context of a request: languages, cache, what must be generated, cache. Values in, values out.

It decides nothing itself: what can be decided without waiting lies in :mod:`transformer.texts.segments`, what is done
about misses in :mod:`transformer.generation.miss_coordinator`, and each neighbour that is waited for (cache,
generator) is passed in. It knows nothing of KServe (:mod:`transformer.model`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.deadline import Deadline
from protocol.messages import CacheStatus, TranslateRequest, TranslateResponse, Translation
from transformer.cache.entries import Cache, look_up
from transformer.cache.leases import NO_LEASES, SharedLeases
from transformer.generation.generator import Generator, run_in_thread
from transformer.generation.miss_coordinator import MissCoordinator
from transformer.metrics import TransformerMetrics
from transformer.request_context import RequestContext, options_of
from transformer.texts.answers import Answer, translation_of
from transformer.texts.attempts import GenerationResult
from transformer.texts.glossary import NO_GLOSSARY, GlossaryMatcher
from transformer.texts.languages import Languages
from transformer.texts.segments import Document, Identity, Job, jobs_of, split_request


class FitsTokenizer(Protocol):
    """What is asked of :class:`transformer.tokens.tokenizer.PromptTokenizer`."""

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
    """Translates under one release. Holds no state of any request but what is under way for several of them."""

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
        glossaries: GlossaryMatcher = NO_GLOSSARY,
        sharing: SharedLeases = NO_LEASES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._release = release
        self._bounds = bounds
        self._languages = languages
        self._tokenizer = tokenizer
        self._cache = cache
        self._misses = MissCoordinator(
            release=release, cache=cache, generator=generator, metrics=metrics, sharing=sharing
        )
        self._metrics = metrics
        self._glossaries = glossaries
        self._clock = clock

    async def translate(self, request: TranslateRequest, headers: Mapping[str, str]) -> TranslateResponse:
        """Translate all texts of a request, or raise.

        Args:
            request: as the caller sent it.
            headers: what travels on to the predictor.

        Raises:
            YiwenError: the request is not one for this release, or the predictor could not answer it in time.
        """
        context = self.begin(request, headers)
        documents = await self.split(request)
        answers = await self.answers(jobs_of(documents), context)
        translations = tuple(translation_of(document, answers) for document in documents)
        self.count(documents, translations)
        return TranslateResponse(translations, self._release)

    async def close(self) -> None:
        """End what is still under way; requests that wait for it fail with 503."""
        await self._misses.close()

    def begin(self, request: TranslateRequest, headers: Mapping[str, str]) -> RequestContext:
        """The context of a request that has just arrived."""
        limit_ms = self._bounds.max_deadline_ms
        deadline = Deadline.of_request(
            request.deadline_ms, default_ms=limit_ms, max_ms=limit_ms, clock=self._clock
        )
        return RequestContext(headers, request.max_new_tokens, deadline, options_of(request))

    async def split(self, request: TranslateRequest) -> list[Document]:
        """The request's texts, taken apart.

        Raises:
            YiwenError: the request is not one for this release.
        """
        return await run_in_thread(
            request.texts,
            lambda: split_request(
                request, self._languages, self._bounds.max_texts, self._whole, self._glossaries
            ),
        )

    async def look_up(self, jobs: Sequence[Job], context: RequestContext) -> list[Answer | None]:
        """What the cache has for each job, in order; at most one round trip."""
        wanted = [(job.key(self._release, context.options), job.first.normal) for job in jobs]
        found = await look_up(self._cache, wanted, self._metrics)
        return [
            None if entry is None else Answer(entry.text, entry.confidence, CacheStatus.HIT)
            for entry in found
        ]

    def in_progress(self, job: Job, context: RequestContext) -> bool:
        """Whether ``job`` is being generated, so that :meth:`answers` would wait for that."""
        return self._misses.in_progress(job, context)

    async def answers(self, jobs: Sequence[Job], context: RequestContext) -> dict[Identity, Answer]:
        """Each job's answer, by what its segments have in common.

        Raises:
            YiwenError: the predictor could not answer all of them in time.
        """
        found = await self.look_up(jobs, context)
        missing = [job for job, answer in zip(jobs, found, strict=True) if answer is None]
        made = iter(await self._misses.answer(missing, context) if missing else ())
        return {
            job.first.identity: next(made) if answer is None else answer
            for job, answer in zip(jobs, found, strict=True)
        }

    async def store(self, made: Sequence[tuple[Job, GenerationResult]], context: RequestContext) -> None:
        """Cache what no guard objects to of what was generated for this release."""
        await self._misses.store(made, context)

    def _whole(self, text: str) -> bool:
        """Whether a text is translated as one, whatever sentences it has."""
        return not self._bounds.split_always and self._tokenizer.fits(text)

    def count(self, documents: Sequence[Document], translations: Sequence[Translation]) -> None:
        """Count what was answered."""
        lengths: dict[tuple[str, str, CacheStatus], list[int]] = {}
        for document, translation in zip(documents, translations, strict=True):
            kind = (translation.source, document.direction.target, translation.cache)
            lengths.setdefault(kind, []).append(len(document.text))
        for (source, target, cache), characters in lengths.items():
            self._metrics.answered(source=source, target=target, cache=cache, characters=characters)
