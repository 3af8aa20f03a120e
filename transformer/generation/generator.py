"""Translations that the cache does not have: prompts, the predictor, text, guards, a second attempt where one helps.

It neither looks anything up nor keeps anything (:mod:`transformer.pipeline`); how attempts differ
:mod:`transformer.texts.attempts` says, and what speaks against an answer :mod:`transformer.texts.guards`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from protocol.errors import ReleaseMismatch, YiwenError
from protocol.messages import (
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    SamplingParams,
)
from transformer.errors import PredictorFault, PredictorTooLate
from transformer.metrics import TransformerMetrics
from transformer.predictors.interface import Predictor
from transformer.request_context import RequestContext
from transformer.texts.attempts import (
    GREEDY,
    Attempt,
    GenerationResult,
    best,
    second_attempts,
    translation_by_glossary,
)
from transformer.texts.guards import Guards
from transformer.texts.segments import Job
from transformer.texts.terms import replace_renderings
from transformer.tokens.tokenizer import PromptTokenizer

INLINE_CHARACTERS = 8_000
"""Requests up to this size are prepared on the event loop, in at most a few milliseconds; larger ones in a thread,
which costs about 0.1 ms more and keeps the loop free for everybody else."""

CHARACTERS_PER_TEXT = 40
"""What each text costs beside its characters, in characters."""

_Result = TypeVar("_Result")


class Generator:
    """Has texts translated under one release. Holds no state of any request."""

    def __init__(
        self,
        *,
        release: str,
        tokenizer: PromptTokenizer,
        guards: Guards,
        predictor: Predictor,
        metrics: TransformerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._release = release
        self._tokenizer = tokenizer
        self._guards = guards
        self._predictor = predictor
        self._metrics = metrics
        self._clock = clock

    async def generate(self, jobs: Sequence[Job], context: RequestContext) -> list[GenerationResult | None]:
        """What each job comes to, in order; None for one that the deadline cut.

        Raises:
            YiwenError: the predictor could not answer, or a text cannot be put to it.
        """
        ready = [translation_by_glossary(job.first.normal, job.first.terms) for job in jobs]
        asked = [job for job, made in zip(jobs, ready, strict=True) if made is None]
        answers = iter(await self._ask(asked, context) if asked else ())
        return [next(answers) if made is None else made for made in ready]

    async def _ask(self, jobs: Sequence[Job], context: RequestContext) -> list[GenerationResult | None]:
        """What the model makes of each job."""
        first = await self._attempt([(job, Attempt(job.first.normal)) for job in jobs], GREEDY, context)
        return await self.retry_flagged(list(zip(jobs, first, strict=True)), context)

    async def retry_flagged(
        self, made: Sequence[tuple[Job, GenerationResult | None]], context: RequestContext
    ) -> list[GenerationResult | None]:
        """``made``, with a second attempt in place of each flagged one that it helped."""
        wanted: list[tuple[int, Job, Attempt]] = []
        for number, (job, each) in enumerate(made):
            if each is not None and self._guards.retries:
                bounded = context.max_new_tokens is not None
                attempts = second_attempts(job.first.normal, each, bounded=bounded, terms=job.first.terms)
                # One that masks made too long would fail the call, and with it those of all other texts.
                fitting = (attempt for attempt in attempts if self._tokenizer.fits(attempt.text))
                wanted += [(number, job, attempt) for attempt in fitting]
        others: dict[int, list[tuple[Attempt, GenerationResult]]] = {}
        for params in {attempt.params: None for _, _, attempt in wanted}:
            some = [each for each in wanted if each[2].params == params]
            asked = {_purpose(*each): each[1:] for each in some}
            answers = dict(zip(asked, await self._once_more([*asked.values()], params, context), strict=True))
            for number, job, attempt in some:
                answer = answers[_purpose(number, job, attempt)]
                others.setdefault(number, []).extend([(attempt, answer)] if answer is not None else [])
        return [
            each and best(each, self._others(job, each, others.get(number, ())))
            for number, (job, each) in enumerate(made)
        ]

    def _others(
        self, job: Job, first: GenerationResult, answers: Sequence[tuple[Attempt, GenerationResult]]
    ) -> list[GenerationResult]:
        """What second attempts come to, the one that leaves most of the first answer as it is before the others."""
        whole = [made for attempt, made in answers if attempt.rendering_of is None]
        renderings = {
            attempt.rendering_of: made.text
            for attempt, made in answers
            if attempt.rendering_of is not None and made.finish_reason is FinishReason.STOP
        }
        put = replace_renderings(job.first.terms, first.text, renderings) if renderings else None
        if put is None:
            return whole
        return [self._judged(job, put, first.confidence, first.finish_reason), *whole]

    async def _once_more(
        self, wanted: Sequence[tuple[Job, Attempt]], params: SamplingParams, context: RequestContext
    ) -> Sequence[GenerationResult | None]:
        """As :meth:`_attempt`; a failure is none of the caller's, who has an answer already, if a flagged one."""
        try:
            return await self._attempt(wanted, params, context)
        except YiwenError:
            return [None] * len(wanted)

    async def _attempt(
        self, attempts: Sequence[tuple[Job, Attempt]], params: SamplingParams, context: RequestContext
    ) -> list[GenerationResult | None]:
        """What attempts that share ``params`` come to, in one call; None for those that the deadline cut."""
        response = await self._call(await self.request(attempts, params, context), context)
        rows = zip(attempts, response.generations, strict=True)
        return [self.made(job, attempt, generation) for (job, attempt), generation in rows]

    async def request(
        self, attempts: Sequence[tuple[Job, Attempt]], params: SamplingParams, context: RequestContext
    ) -> GenerateRequest:
        """What the predictor is asked for attempts that share ``params``.

        Raises:
            YiwenError: a text cannot be put to the model, or no time is left.
        """
        started = self._clock()
        texts = [job.to_encode(attempt.text) for job, attempt in attempts]
        prompts = await run_in_thread(
            [text.text for text in texts], lambda: self._tokenizer.encode(texts, context.max_new_tokens)
        )
        self._metrics.tokenize_seconds.observe(self._clock() - started)
        remaining_ms = context.deadline.remaining_ms()
        if remaining_ms < 1:
            raise PredictorTooLate(context.deadline.timeout_s)
        return GenerateRequest(
            prompts=tuple(prompt.token_ids for prompt in prompts),
            max_new_tokens=tuple(prompt.max_new_tokens for prompt in prompts),
            params=params,
            release=self._release,
            deadline_ms=remaining_ms,
            max_repeats=tuple(self._guards.max_repeats(job.first.normal) for job, _ in attempts),
        )

    async def _call(self, request: GenerateRequest, context: RequestContext) -> GenerateResponse:
        response = await self._predictor.generate(request, context.headers)
        if response.release != self._release:
            raise ReleaseMismatch(
                f"the predictor answered for release {response.release}, this transformer has {self._release}",
                serving=response.release,
            )
        if len(response.generations) != len(request.prompts):
            raise PredictorFault(
                f"the predictor answered {len(response.generations)} of {len(request.prompts)} prompts; "
                "transformer and predictor must be of one version"
            )
        return response

    def made(self, job: Job, attempt: Attempt, generation: Generation) -> GenerationResult | None:
        """What an attempt came to; None if the deadline left it incomplete."""
        if generation.finish_reason is FinishReason.DEADLINE:
            return None
        written = self._tokenizer.decode(generation.token_ids).strip()
        if attempt.rendering_of is not None:
            return GenerationResult(written, generation.confidence, generation.finish_reason, ())
        return self._judged(job, attempt.read(written), generation.confidence, generation.finish_reason)

    def _judged(
        self, job: Job, text: str | None, confidence: float, finish_reason: FinishReason
    ) -> GenerationResult:
        """An answer and its flags; None as ``text`` is one that lost what it had to keep."""
        _, target, normal = job.first.identity
        flags: tuple[str, ...] = ("placeholder",)
        if text is not None:
            flags = self._guards.flags(normal, text, target, finish_reason, job.first.terms)
        for kind in flags:
            self._metrics.guard_failures.labels(kind).inc()
        return GenerationResult(text or "", confidence, finish_reason, flags)


def _purpose(number: int, job: Job, attempt: Attempt) -> tuple[str | int, ...]:
    """What an attempt at the text ``number`` is for: equal for those that one answer serves."""
    if attempt.rendering_of is not None:
        return attempt.rendering_of, *job.first.identity[:2]
    return number, attempt.text


async def run_in_thread(texts: Sequence[str], work: Callable[[], _Result]) -> _Result:
    """Run ``work`` on ``texts`` here if it is small, else in a thread."""
    if sum(map(len, texts)) + CHARACTERS_PER_TEXT * len(texts) <= INLINE_CHARACTERS:
        return work()
    return await asyncio.to_thread(work)
