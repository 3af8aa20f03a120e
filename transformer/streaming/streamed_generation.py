"""Translations that the cache does not have, reported while the model still writes them.

As :mod:`transformer.generation.generator`, whose guards and second attempts it uses, in one stream from the predictor
for all. A plain text grows token by token. One that must keep or say something (placeholders, a glossary's terms) and
markup come whole, once that was verified and, where it failed, tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from protocol.errors import ReleaseMismatch
from protocol.messages import Generation, GenerationEnd, TokenDelta
from transformer.errors import PredictorFault, PredictorTooLate
from transformer.generation.generator import Generator
from transformer.predictors.interface import StreamingPredictor
from transformer.predictors.readiness import ColdStartStatus
from transformer.request_context import RequestContext
from transformer.texts.attempts import GREEDY, Attempt, GenerationResult, translation_by_glossary
from transformer.texts.placeholders import protected_spans
from transformer.texts.segments import Job
from transformer.tokens.detokenizer import Detokenizer
from transformer.tokens.tokenizer import PromptTokenizer


class Report(Protocol):
    """Who is told."""

    def warming(self, warming: ColdStartStatus) -> None:
        """The predictor is being started; comes before all else."""

    def grown(self, job: Job, text: str) -> None:
        """``text`` is how ``job``'s translation begins."""

    async def made(self, job: Job, made: GenerationResult) -> None:
        """``job`` is done."""


class StreamedGenerator:
    """Has texts translated under one release, as they grow. Holds no state of any request."""

    def __init__(
        self,
        *,
        release: str,
        tokenizer: PromptTokenizer,
        generator: Generator,
        predictor: StreamingPredictor,
    ) -> None:
        self._release = release
        self._tokenizer = tokenizer
        self._generator = generator
        self._predictor = predictor

    async def generate(
        self, jobs: Sequence[Job], context: RequestContext, report: Report, *, live: bool
    ) -> None:
        """Report what each job comes to.

        Args:
            jobs: distinct.
            context: the request.
            report: is told.
            live: whether texts may be reported while they grow.

        Raises:
            YiwenError: the predictor could not answer in time, or a text cannot be put to it.
        """
        asked = []
        for job in jobs:
            made = translation_by_glossary(job.first.normal, job.first.terms)
            if made is None:
                asked.append(_Answer(job, self._detokenizer(job) if live else None))
            else:
                await report.made(job, made)
        if asked:
            flagged = await self._read(asked, context, report)
            retried = await self._generator.retry_flagged(flagged, context) if flagged else []
            for (job, _), made in zip(flagged, retried, strict=True):
                if made is not None:
                    await report.made(job, made)

    def _detokenizer(self, job: Job) -> Detokenizer | None:
        """What makes text of a job's tokens as they come; None if it must be verified first."""
        if job.first.terms or protected_spans(job.first.normal):
            return None
        return Detokenizer(self._tokenizer.decode, self._tokenizer.unsettled_ids)

    async def _read(
        self, answers: Sequence[_Answer], context: RequestContext, report: Report
    ) -> list[tuple[Job, GenerationResult]]:
        """Report all that the predictor says, but for the returned: those that a second attempt may help."""
        flagged = []
        attempts = [(answer.job, Attempt(answer.job.first.normal)) for answer in answers]
        request = await self._generator.request(attempts, GREEDY, context)
        async with aclosing(self._predictor.stream(request, context.headers)) as items:
            async for item in items:
                if isinstance(item, ColdStartStatus):
                    report.warming(item)
                    continue
                answer = _answer_of(item, answers)
                answer.take(item)
                if item.end is not None:
                    made = self._made(answer, item.end, context)
                    if made.flags and answer.detokenizer is None:
                        flagged.append((answer.job, made))
                    else:
                        await report.made(answer.job, made)
                elif answer.text:
                    report.grown(answer.job, answer.text)
        return flagged

    def _made(self, answer: _Answer, end: GenerationEnd, context: RequestContext) -> GenerationResult:
        if end.release != self._release:
            raise ReleaseMismatch(
                f"the predictor answered for release {end.release}, this transformer has {self._release}",
                serving=end.release,
            )
        generation = Generation(tuple(answer.token_ids), end.logprob, end.finish_reason)
        made = self._generator.made(answer.job, Attempt(answer.job.first.normal), generation)
        if made is None:
            raise PredictorTooLate(context.deadline.timeout_s)
        return made


class _Answer:
    """One prompt's answer so far."""

    __slots__ = ("detokenizer", "job", "text", "token_ids")

    def __init__(self, job: Job, detokenizer: Detokenizer | None) -> None:
        self.job = job
        self.detokenizer = detokenizer
        self.token_ids: list[int] = []
        self.text = ""
        """What is settled of it; stays empty without a detokenizer."""

    def take(self, delta: TokenDelta) -> None:
        self.token_ids += delta.token_ids
        if self.detokenizer is not None:
            self.text += self.detokenizer.add(delta.token_ids)


def _answer_of(delta: TokenDelta, answers: Sequence[_Answer]) -> _Answer:
    if delta.index >= len(answers):
        raise PredictorFault(
            f"the predictor streamed an answer to prompt {delta.index} of {len(answers)}; "
            "transformer and predictor must be of one version"
        )
    return answers[delta.index]
