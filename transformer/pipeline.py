"""The journey of a request: languages, cache, token ids, predictor, text, guards, cache. Values in, values out.

It decides nothing itself: what can be decided without waiting lies in :mod:`transformer.segments`, and each neighbour
that is waited for (cache, predictor) is passed in. It knows nothing of KServe (:mod:`transformer.model`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from protocol.errors import ReleaseMismatch
from protocol.messages import (
    CacheStatus,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    TranslateRequest,
    TranslateResponse,
    Translation,
)
from transformer.cache import Cache, CacheEntry, look_up
from transformer.errors import PredictorFault, PredictorTooLate
from transformer.languages import Languages
from transformer.metrics import TransformerMetrics
from transformer.segments import Job, Segment, jobs_of, split_request
from transformer.tokenizer import Prompt, PromptTokenizer

INLINE_CHARACTERS = 8_000
"""Requests up to this size are prepared on the event loop, in at most a few milliseconds; larger ones in a thread,
which costs about 0.1 ms more and keeps the loop free for everybody else."""

CHARACTERS_PER_TEXT = 40
"""What each text costs beside its characters, in characters."""

_Result = TypeVar("_Result")


class Predictor(Protocol):
    """What the pipeline asks of :class:`transformer.client.PredictorClient`."""

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Have prompts continued."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may be."""

    max_texts: int
    max_deadline_ms: int
    """The deadline of requests that bring none, and the longest that one may bring."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One job's translation, and where it came from."""

    entry: CacheEntry
    cache: CacheStatus
    finish_reason: FinishReason = FinishReason.STOP


@dataclass(frozen=True, slots=True)
class _Journey:
    """One request under way."""

    headers: Mapping[str, str]
    max_new_tokens: int | None
    deadline: float
    """On the pipeline's clock, seconds."""
    allowed_s: float
    """From arrival to ``deadline``."""


class Pipeline:
    """Translates under one release. Holds no state of any request."""

    def __init__(
        self,
        *,
        release: str,
        bounds: Bounds,
        languages: Languages,
        tokenizer: PromptTokenizer,
        cache: Cache,
        predictor: Predictor,
        metrics: TransformerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._release = release
        self._bounds = bounds
        self._languages = languages
        self._tokenizer = tokenizer
        self._cache = cache
        self._predictor = predictor
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
        deadline_ms = min(request.deadline_ms or self._bounds.max_deadline_ms, self._bounds.max_deadline_ms)
        allowed_s = deadline_ms / 1000
        journey = _Journey(headers, request.max_new_tokens, self._clock() + allowed_s, allowed_s)
        segments = await _beside(
            request.texts, lambda: split_request(request, self._languages, self._bounds.max_texts)
        )
        answers = await self._answers(jobs_of(segments), journey)
        translations = tuple(_translation(segment, answers.get(segment.index)) for segment in segments)
        self._count(segments, translations)
        return TranslateResponse(translations, self._release)

    async def _answers(self, jobs: Sequence[Job], journey: _Journey) -> dict[int, _Answer]:
        """Answers by the index of each segment that needs one."""
        wanted = [(job.key(self._release, journey.max_new_tokens), job.first.normal) for job in jobs]
        found = await look_up(self._cache, wanted, self._metrics)
        missing = [job for job, entry in zip(jobs, found, strict=True) if entry is None]
        made = iter(await self._generate(missing, journey) if missing else ())
        answers: dict[int, _Answer] = {}
        for job, entry in zip(jobs, found, strict=True):
            answers.update(_by_segment(job, next(made) if entry is None else _Answer(entry, CacheStatus.HIT)))
        return answers

    async def _generate(self, jobs: Sequence[Job], journey: _Journey) -> list[_Answer]:
        """Generated answers in order; the good ones are cached, even when the deadline ends the rest."""
        started = self._clock()
        texts = [job.to_encode() for job in jobs]
        prompts = await _beside(
            [text.text for text in texts], lambda: self._tokenizer.encode(texts, journey.max_new_tokens)
        )
        self._metrics.tokenize_seconds.observe(self._clock() - started)
        response = await self._call(prompts, journey)
        made = [
            (job, self._answer(job, generation))
            for job, generation in zip(jobs, response.generations, strict=True)
        ]
        complete = [(job, answer) for job, answer in made if answer is not None]
        await self._remember(complete, response.release, journey)
        if len(complete) < len(made):
            raise PredictorTooLate(journey.allowed_s)
        return [answer for _, answer in complete]

    async def _call(self, prompts: Sequence[Prompt], journey: _Journey) -> GenerateResponse:
        left_ms = int((journey.deadline - self._clock()) * 1000)
        if left_ms < 1:
            raise PredictorTooLate(journey.allowed_s)
        request = GenerateRequest(
            prompts=tuple(prompt.token_ids for prompt in prompts),
            max_new_tokens=tuple(prompt.max_new_tokens for prompt in prompts),
            release=self._release,
            deadline_ms=left_ms,
        )
        response = await self._predictor.generate(request, journey.headers)
        if response.release != self._release:
            raise ReleaseMismatch(
                f"the predictor answered for release {response.release}, this transformer has {self._release}",
                serving=response.release,
            )
        if len(response.generations) != len(prompts):
            raise PredictorFault(
                f"the predictor answered {len(response.generations)} of {len(prompts)} prompts; "
                "transformer and predictor must be of one version"
            )
        return response

    def _answer(self, job: Job, generation: Generation) -> _Answer | None:
        """The answer in text; None if the deadline left it incomplete."""
        if generation.finish_reason is FinishReason.DEADLINE:
            return None
        text = self._tokenizer.decode(generation.token_ids).strip()
        entry = CacheEntry(job.first.normal, text, generation.confidence)
        return _Answer(entry, CacheStatus.MISS, generation.finish_reason)

    async def _remember(self, made: Sequence[tuple[Job, _Answer]], release: str, journey: _Journey) -> None:
        """Cache what passes the guards, under the release that the predictor's answer names."""
        good: dict[bytes, CacheEntry] = {}
        for job, answer in made:
            fault = doubt(answer.entry.text, answer.finish_reason)
            if fault is None:
                good[job.key(release, journey.max_new_tokens)] = answer.entry
            else:
                self._metrics.guard_failures.labels(fault).inc()
        if good:
            await self._cache.put_many(good)

    def _count(self, segments: Sequence[Segment], translations: Sequence[Translation]) -> None:
        for segment, translation in zip(segments, translations, strict=True):
            self._metrics.answered(
                source=translation.source,
                target=segment.direction.target,
                cache=translation.cache,
                characters=len(segment.text),
            )


def doubt(text: str, finish_reason: FinishReason) -> str | None:
    """Why an answer to a text that has words should not be kept; None if nothing speaks against it."""
    if finish_reason is FinishReason.LENGTH:
        return "length"
    return None if text else "empty"


def _by_segment(job: Job, answer: _Answer) -> dict[int, _Answer]:
    """The answer of each of a job's segments: what was generated for the first is shared by the others."""
    shared = CacheStatus.SHARED if answer.cache is CacheStatus.MISS else answer.cache
    others = _Answer(answer.entry, shared, answer.finish_reason)
    return {segment.index: answer if segment is job.first else others for segment in job.segments}


def _translation(segment: Segment, answer: _Answer | None) -> Translation:
    source = segment.direction.source
    if answer is None:
        return Translation(segment.text, source, 1.0, CacheStatus.BYPASS)
    return Translation(
        segment.restore(answer.entry.text),
        source,
        answer.entry.confidence,
        answer.cache,
        answer.finish_reason,
    )


async def _beside(texts: Sequence[str], work: Callable[[], _Result]) -> _Result:
    """Run ``work`` on ``texts`` here if it is small, else in a thread."""
    if sum(map(len, texts)) + CHARACTERS_PER_TEXT * len(texts) <= INLINE_CHARACTERS:
        return work()
    return await asyncio.to_thread(work)
