"""Translating a request: split its texts, look them up, have the misses generated, put the translations together.

The pipeline knows nothing of KServe (:mod:`transformer.model`) and waits for its neighbours only: the cache, and
:mod:`transformer.generation.miss_coordinator`. docs/life-of-a-request.md follows a request through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from protocol.deadline import Deadline
from protocol.error_codes import ErrorCode
from protocol.errors import YiwenError
from protocol.messages import CacheStatus, Glossary, OnError, TranslateRequest, TranslateResponse, Translation
from serving.stages import Stage, annotate, count
from transformer.cache.entries import Cache, look_up
from transformer.cache.leases import NO_LEASES, SharedLeases
from transformer.errors import PredictorTooLate
from transformer.generation.alternatives import AlternativeTranslations
from transformer.generation.generator import Generator
from transformer.generation.item_keys import key_of
from transformer.generation.miss_coordinator import MissCoordinator
from transformer.metrics import TransformerMetrics
from transformer.request_context import EVERYBODY, CallerShare, RequestContext
from transformer.suggestions.corrections import CorrectionTable
from transformer.text_workers import TextWorkers, size_of
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import (
    MARKUP,
    MOST_FOLLOW_UPS,
    Document,
    follow_up_items,
    translation_of,
    work_items,
)
from transformer.texts.glossary import NO_GLOSSARY, GlossaryMatcher
from transformer.texts.languages import Languages
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkItem, WorkResult

_LOGGED_PAIRS = 4


class FitsTokenizer(Protocol):
    """The part of :class:`protocol.prompt_encoder.PromptEncoder` that the pipeline uses."""

    def fits(self, text: str) -> bool:
        """Whether the release takes ``text`` as one."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one request."""

    texts: TextBounds
    max_deadline_ms: int
    """The longest deadline that a request may set, milliseconds."""
    default_deadline_ms: int = 30_000
    """The deadline of requests that set none, milliseconds; ``max_deadline_ms`` bounds it."""
    split_always: bool = True
    """Whether all texts are split into sentences, or only those that are too long for the model."""


class Pipeline:
    """Translates under one release. Keeps no state of a request, except calls that several requests share."""

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
        corrections: CorrectionTable | None = None,
        sharing: SharedLeases = NO_LEASES,
        workers: TextWorkers | None = None,
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
        self._alternatives = AlternativeTranslations(generator)
        self._corrections = corrections or CorrectionTable()
        self._metrics = metrics
        self._glossaries = glossaries
        self._workers = workers or TextWorkers()
        self._clock = clock

    async def translate(
        self,
        request: TranslateRequest,
        headers: Mapping[str, str],
        received_at: float | None = None,
        share: CallerShare = EVERYBODY,
    ) -> TranslateResponse:
        """Translate all texts of a request.

        Args:
            request: as the caller sent it.
            headers: sent on to the predictor.
            received_at: when its first byte arrived, on this pipeline's clock, seconds; None for now.
            share: of the caller in the queue in front of the predictor.

        Raises:
            YiwenError: the request is not one for this release, or the predictor could not answer it in time.
        """
        context = self.begin(request, headers, received_at, share)
        documents = await self.split(request)
        results = await self.results(work_items(documents), context)
        results = await self.followed_up(documents, results, context)
        translations = await self._put_together(documents, results)
        if request.alternatives:
            others = await self._alternatives.find(documents, results, request.alternatives, context)
            pairs = zip(translations, others, strict=True)
            translations = tuple(replace(each, alternatives=texts) for each, texts in pairs)
        if all(each.error and each.error.code is ErrorCode.DEADLINE_EXCEEDED for each in translations):
            raise PredictorTooLate(context.deadline.timeout_s)
        self.count(documents, translations)
        return TranslateResponse(translations, self._release)

    async def close(self) -> None:
        """Cancel what is in progress; requests that wait for it fail with 503."""
        await self._misses.close()
        self._workers.close()

    def begin(
        self,
        request: TranslateRequest,
        headers: Mapping[str, str],
        received_at: float | None = None,
        share: CallerShare = EVERYBODY,
    ) -> RequestContext:
        """The context of a request; arguments as of :meth:`translate`."""
        deadline = Deadline.of_request(
            request.deadline_ms,
            default_ms=self._bounds.default_deadline_ms,
            max_ms=self._bounds.max_deadline_ms,
            received_at=received_at,
            clock=self._clock,
        )
        return RequestContext(
            headers,
            request.max_new_tokens,
            deadline,
            per_text=request.on_error is OnError.PER_TEXT,
            share=share,
        )

    async def split(self, request: TranslateRequest) -> list[Document]:
        """The request's texts as documents.

        Raises:
            YiwenError: the request is not one for this release.
        """
        # Before it waits for a thread: what is refused anyway should not be held meanwhile.
        self._bounds.texts.check_request(request)
        is_whole = self._is_whole if request.split_sentences else self._tokenizer.fits
        with Stage("detect"):
            return await self._workers.run(
                size_of(request.texts) + _size_of_glossary(request.glossary),
                lambda: split_request(
                    request,
                    self._languages,
                    self._bounds.texts,
                    is_whole,
                    self._glossaries,
                    self._tokenizer.fits,
                ),
            )

    async def look_up(self, items: Sequence[WorkItem]) -> list[WorkResult | None]:
        """The corrected or cached result of each item, in order; None for a miss. Takes one round trip at most."""
        corrected = self._corrections.find(items)
        asked = [item for item in items if item not in corrected] if corrected else items
        lookups = [(key_of(item, self._release), item.text) for item in asked]
        with Stage("cache"):
            entries = await look_up(self._cache, lookups, self._metrics)
        found = [
            None if entry is None else WorkResult(entry.text, entry.confidence, CacheStatus.HIT)
            for entry in entries
        ]
        if not corrected:
            return found
        rest = iter(found)
        return [corrected[item] if item in corrected else next(rest) for item in items]

    def in_progress(self, item: WorkItem) -> bool:
        """Whether ``item`` is being generated, so that :meth:`results` would wait for that generation."""
        return self._misses.in_progress(item)

    async def results(self, items: Sequence[WorkItem], context: RequestContext) -> dict[WorkItem, WorkResult]:
        """The result of each item, from the cache or generated.

        Raises:
            YiwenError: the predictor could not answer all of them in time.
        """
        found = await self.look_up(items)
        missing = [item for item, result in zip(items, found, strict=True) if result is None]
        generated = iter(await self._misses.answer(missing, context) if missing else ())
        return {
            item: next(generated) if result is None else result
            for item, result in zip(items, found, strict=True)
        }

    async def followed_up(
        self, documents: Sequence[Document], results: dict[WorkItem, WorkResult], context: RequestContext
    ) -> dict[WorkItem, WorkResult]:
        """``results``, and those of all that helps to put the tags of ``documents`` into their places."""
        if not any(document.has_tags for document in documents):
            return results
        for _ in range(MOST_FOLLOW_UPS):
            more = await self.follow_up(documents, results, context)
            if not more:
                break
            results = results | more
        return results

    async def follow_up(
        self, documents: Sequence[Document], results: Mapping[WorkItem, WorkResult], context: RequestContext
    ) -> dict[WorkItem, WorkResult]:
        """The results of what else helps to put the tags of ``documents`` into their places; mostly nothing.

        A failure is ignored: the tags are placed without.
        """
        items = await self._workers.run(_placing_size(documents), lambda: follow_up_items(documents, results))
        try:
            return await self.results(items, context) if items else {}
        except YiwenError:
            return {}

    async def _put_together(
        self, documents: Sequence[Document], results: Mapping[WorkItem, WorkResult]
    ) -> tuple[Translation, ...]:
        return await self._workers.run(
            _placing_size(documents),
            lambda: tuple(translation_of(document, results) for document in documents),
        )

    async def store(self, results: Iterable[tuple[WorkItem, WorkResult]]) -> None:
        """Cache the results that no guard flags, of what was generated for this release."""
        await self._misses.store(results)

    def count(self, documents: Sequence[Document], translations: Sequence[Translation]) -> None:
        """Count what was answered."""
        lengths: dict[tuple[str, str, CacheStatus], list[int]] = {}
        for document, translation in zip(documents, translations, strict=True):
            if translation.error is not None:
                self._metrics.text_errors.labels(translation.error.code.value).inc()
                continue
            if MARKUP in translation.flags:
                self._metrics.guard_failures.labels(MARKUP).inc()
            if translation.cache is CacheStatus.MISS:
                self._metrics.confidence.observe(translation.confidence)
            kind = (translation.source, document.pair.target, translation.cache)
            lengths.setdefault(kind, []).append(len(document.text))
        for (source, target, cache), characters in lengths.items():
            self._metrics.answered(source=source, target=target, cache=cache, characters=characters)
            count("characters", sum(characters))
        if lengths:
            annotate("pair", _pairs(lengths))

    def count_first_text(self, context: RequestContext) -> None:
        """The first piece of a streamed answer is about to be sent."""
        self._metrics.time_to_first_text_seconds.observe(context.deadline.elapsed_s())

    def _is_whole(self, text: str) -> bool:
        """Whether a text is translated as one, whatever sentences it has."""
        return not self._bounds.split_always and self._tokenizer.fits(text)


def _pairs(kinds: Collection[tuple[str, str, CacheStatus]]) -> str:
    """The language pairs of a request, for its log line: ``en-zh``, the first :data:`_LOGGED_PAIRS` of several."""
    if len(kinds) == 1:
        ((source, target, _),) = kinds
        return f"{source}-{target}"
    pairs = list(dict.fromkeys(f"{source}-{target}" for source, target, _ in kinds))
    return ",".join([*pairs[:_LOGGED_PAIRS], *(["..."] if len(pairs) > _LOGGED_PAIRS else [])])


def _placing_size(documents: Sequence[Document]) -> int:
    """What placing the tags of documents costs, as :func:`transformer.text_workers.size_of` counts it."""
    return size_of([document.text for document in documents if document.has_tags])


def _size_of_glossary(glossary: Glossary | None) -> int:
    """What indexing a glossary costs, as :func:`transformer.text_workers.size_of` counts it."""
    if glossary is None:
        return 0
    return size_of([*glossary.keep, *(text for term in glossary.terms for text in term)])
