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

from protocol.errors import ReleaseMismatch, YiwenError
from protocol.messages import (
    CacheStatus,
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    SamplingParams,
    TranslateRequest,
    TranslateResponse,
    Translation,
)
from transformer.answers import Answer, translation_of
from transformer.attempts import GREEDY, Attempt, Made, best, second_attempts
from transformer.cache import Cache, CacheEntry, look_up
from transformer.errors import PredictorFault, PredictorTooLate
from transformer.guards import Guards
from transformer.languages import Languages
from transformer.metrics import TransformerMetrics
from transformer.segments import Document, Identity, Job, jobs_of, split_request
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
    split_always: bool = True
    """Whether every sentence is translated on its own, or only those of texts that the model cannot take whole."""


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
        guards: Guards,
        cache: Cache,
        predictor: Predictor,
        metrics: TransformerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._release = release
        self._bounds = bounds
        self._languages = languages
        self._tokenizer = tokenizer
        self._guards = guards
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
        documents = await _beside(
            request.texts,
            lambda: split_request(request, self._languages, self._bounds.max_texts, self._whole),
        )
        answers = await self._answers(jobs_of(documents), journey)
        translations = tuple(translation_of(document, answers) for document in documents)
        self._count(documents, translations)
        return TranslateResponse(translations, self._release)

    def _whole(self, text: str) -> bool:
        """Whether a text is translated as one, whatever sentences it has."""
        return not self._bounds.split_always and self._tokenizer.fits(text)

    async def _answers(self, jobs: Sequence[Job], journey: _Journey) -> dict[Identity, Answer]:
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

    async def _generate(self, jobs: Sequence[Job], journey: _Journey) -> list[Answer]:
        """Generated answers in order; the good ones are cached, even when the deadline ends the rest."""
        first = await self._attempt([(job, Attempt(job.first.normal)) for job in jobs], GREEDY, journey)
        made = await self._mend(list(zip(jobs, first, strict=True)), journey)
        complete = [(job, each) for job, each in zip(jobs, made, strict=True) if each is not None]
        await self._remember(complete, journey)
        if len(complete) < len(made):
            raise PredictorTooLate(journey.allowed_s)
        return [
            Answer(each.text, each.confidence, CacheStatus.MISS, each.finish_reason, each.flags, job.first)
            for job, each in complete
        ]

    async def _mend(self, made: Sequence[tuple[Job, Made | None]], journey: _Journey) -> list[Made | None]:
        """``made``, with a second attempt in place of each flagged one that it helped."""
        wanted: list[tuple[int, Job, Attempt]] = []
        if self._guards.retries:
            bounded = journey.max_new_tokens is not None
            for number, (job, each) in enumerate(made):
                flags = each.flags if each is not None else ()
                attempts = second_attempts(job.first.normal, flags, bounded=bounded)
                wanted += [(number, job, attempt) for attempt in attempts]
        others: dict[int, list[Made]] = {}
        for params in {attempt.params: None for _, _, attempt in wanted}:
            some = [each for each in wanted if each[2].params == params]
            for (number, _, _), each in zip(some, await self._once_more(some, params, journey), strict=True):
                others.setdefault(number, []).extend([each] if each is not None else [])
        return [each and best(each, others.get(number, ())) for number, (_, each) in enumerate(made)]

    async def _once_more(
        self, wanted: Sequence[tuple[int, Job, Attempt]], params: SamplingParams, journey: _Journey
    ) -> Sequence[Made | None]:
        """As :meth:`_attempt`; a failure is none of the caller's, who has an answer already, if a flagged one."""
        try:
            return await self._attempt([(job, attempt) for _, job, attempt in wanted], params, journey)
        except YiwenError:
            return [None] * len(wanted)

    async def _attempt(
        self, attempts: Sequence[tuple[Job, Attempt]], params: SamplingParams, journey: _Journey
    ) -> list[Made | None]:
        """What attempts that share ``params`` come to, in one call; None for those that the deadline cut."""
        started = self._clock()
        texts = [job.to_encode(attempt.text) for job, attempt in attempts]
        prompts = await _beside(
            [text.text for text in texts], lambda: self._tokenizer.encode(texts, journey.max_new_tokens)
        )
        self._metrics.tokenize_seconds.observe(self._clock() - started)
        response = await self._call(prompts, params, journey)
        rows = zip(attempts, response.generations, strict=True)
        return [self._made(job, attempt, generation) for (job, attempt), generation in rows]

    async def _call(
        self, prompts: Sequence[Prompt], params: SamplingParams, journey: _Journey
    ) -> GenerateResponse:
        left_ms = int((journey.deadline - self._clock()) * 1000)
        if left_ms < 1:
            raise PredictorTooLate(journey.allowed_s)
        request = GenerateRequest(
            prompts=tuple(prompt.token_ids for prompt in prompts),
            max_new_tokens=tuple(prompt.max_new_tokens for prompt in prompts),
            params=params,
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

    def _made(self, job: Job, attempt: Attempt, generation: Generation) -> Made | None:
        """What an attempt came to; None if the deadline left it incomplete."""
        if generation.finish_reason is FinishReason.DEADLINE:
            return None
        _, target, normal = job.first.identity
        written = self._tokenizer.decode(generation.token_ids).strip()
        text = attempt.read(written)
        flags: tuple[str, ...] = ("placeholder",)
        if text is not None:
            flags = self._guards.flags(normal, text, target, generation.finish_reason)
        for kind in flags:
            self._metrics.guard_failures.labels(kind).inc()
        return Made(written if text is None else text, generation.confidence, generation.finish_reason, flags)

    async def _remember(self, made: Sequence[tuple[Job, Made]], journey: _Journey) -> None:
        """Cache what no guard objects to. :meth:`_call` has checked that it is of this release."""
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


async def _beside(texts: Sequence[str], work: Callable[[], _Result]) -> _Result:
    """Run ``work`` on ``texts`` here if it is small, else in a thread."""
    if sum(map(len, texts)) + CHARACTERS_PER_TEXT * len(texts) <= INLINE_CHARACTERS:
        return work()
    return await asyncio.to_thread(work)
