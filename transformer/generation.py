"""Translations that the cache does not have: prompts, the predictor, text, guards, a second attempt where one helps.

It neither looks anything up nor keeps anything (:mod:`transformer.pipeline`); how attempts differ
:mod:`transformer.attempts` says, and what speaks against an answer :mod:`transformer.guards`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from protocol.errors import ReleaseMismatch, YiwenError
from protocol.messages import (
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    Generation,
    SamplingParams,
)
from transformer.attempts import GREEDY, Attempt, Made, best, second_attempts
from transformer.errors import PredictorFault, PredictorTooLate
from transformer.guards import Guards
from transformer.journey import Journey
from transformer.metrics import TransformerMetrics
from transformer.segments import Job
from transformer.tokenizer import Prompt, PromptTokenizer

INLINE_CHARACTERS = 8_000
"""Requests up to this size are prepared on the event loop, in at most a few milliseconds; larger ones in a thread,
which costs about 0.1 ms more and keeps the loop free for everybody else."""

CHARACTERS_PER_TEXT = 40
"""What each text costs beside its characters, in characters."""

_Result = TypeVar("_Result")


class Predictor(Protocol):
    """What is asked of :class:`transformer.client.PredictorClient`."""

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Have prompts continued."""
        ...


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

    async def generate(self, jobs: Sequence[Job], journey: Journey) -> list[Made | None]:
        """What each job comes to, in order; None for one that the deadline cut.

        Raises:
            YiwenError: the predictor could not answer, or a text cannot be put to it.
        """
        first = await self._attempt([(job, Attempt(job.first.normal)) for job in jobs], GREEDY, journey)
        return await self._mend(list(zip(jobs, first, strict=True)), journey)

    async def _mend(self, made: Sequence[tuple[Job, Made | None]], journey: Journey) -> list[Made | None]:
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
        self, wanted: Sequence[tuple[int, Job, Attempt]], params: SamplingParams, journey: Journey
    ) -> Sequence[Made | None]:
        """As :meth:`_attempt`; a failure is none of the caller's, who has an answer already, if a flagged one."""
        try:
            return await self._attempt([(job, attempt) for _, job, attempt in wanted], params, journey)
        except YiwenError:
            return [None] * len(wanted)

    async def _attempt(
        self, attempts: Sequence[tuple[Job, Attempt]], params: SamplingParams, journey: Journey
    ) -> list[Made | None]:
        """What attempts that share ``params`` come to, in one call; None for those that the deadline cut."""
        started = self._clock()
        texts = [job.to_encode(attempt.text) for job, attempt in attempts]
        prompts = await beside(
            [text.text for text in texts], lambda: self._tokenizer.encode(texts, journey.max_new_tokens)
        )
        self._metrics.tokenize_seconds.observe(self._clock() - started)
        response = await self._call(prompts, params, journey)
        rows = zip(attempts, response.generations, strict=True)
        return [self._made(job, attempt, generation) for (job, attempt), generation in rows]

    async def _call(
        self, prompts: Sequence[Prompt], params: SamplingParams, journey: Journey
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


async def beside(texts: Sequence[str], work: Callable[[], _Result]) -> _Result:
    """Run ``work`` on ``texts`` here if it is small, else in a thread."""
    if sum(map(len, texts)) + CHARACTERS_PER_TEXT * len(texts) <= INLINE_CHARACTERS:
        return work()
    return await asyncio.to_thread(work)
