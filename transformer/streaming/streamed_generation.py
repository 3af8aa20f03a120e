"""Streamed generation: translations that the cache does not have, reported while the model writes them.

Streams from the predictor carry a group of texts each; guards and second attempts are those of
:mod:`transformer.generation.generator`. A plain text is reported token by token. Markup, and texts with placeholders
or glossary terms, are reported whole once they are verified, after a second attempt where they failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from protocol.errors import ReleaseMismatch
from protocol.messages import GenerateRequest, Generation, GenerationEnd, TokenDelta
from protocol.prompt_encoder import PromptEncoder
from serving.stages import Stage
from transformer.errors import PredictorFault, PredictorTooLate
from transformer.generation.attempts import Attempt, translation_by_glossary
from transformer.generation.early_retries import EarlyRetries
from transformer.generation.generator import Generator
from transformer.predictors.interface import StreamingPredictor
from transformer.predictors.readiness import ColdStartStatus
from transformer.request_context import RequestContext
from transformer.streaming.detokenizer import Detokenizer
from transformer.texts.placeholders import protected_spans
from transformer.texts.work_item import WorkItem, WorkResult


class StreamObserver(Protocol):
    """Receives what a streamed generation reports."""

    def cold_start(self, status: ColdStartStatus) -> None:
        """The predictor is starting; reported before everything else."""

    def grown(self, item: WorkItem, text: str) -> None:
        """The translation of ``item`` begins with ``text``."""

    async def finished(self, item: WorkItem, result: WorkResult) -> None:
        """The translation of ``item`` is complete."""


class StreamedGenerator:
    """Has texts translated under one release, reported as they grow. Keeps no state of any request."""

    def __init__(
        self,
        *,
        release: str,
        tokenizer: PromptEncoder,
        generator: Generator,
        predictor: StreamingPredictor,
    ) -> None:
        """Connect to nothing yet.

        Args:
            release: id of the release whose tokenizer makes the prompts.
            tokenizer: of the release.
            generator: makes prompts, judges results and makes second attempts.
            predictor: continues prompts, token by token.
        """
        self._release = release
        self._tokenizer = tokenizer
        self._generator = generator
        self._predictor = predictor

    async def generate(
        self, items: Sequence[WorkItem], context: RequestContext, observer: StreamObserver, *, live: bool
    ) -> None:
        """Translate each item and report it.

        Args:
            items: distinct.
            context: of the request.
            observer: receives the reports.
            live: whether texts may be reported while they grow.

        Raises:
            YiwenError: the predictor could not answer in time, or no prompt can be made of a text.
        """
        answers = []
        for item in items:
            result = translation_by_glossary(item)
            if result is None:
                answers.append(
                    _StreamedAnswer(
                        self._generator.first_attempt(item), self._detokenizer(item) if live else None
                    )
                )
            else:
                await observer.finished(item, result)

        async def report(results: Sequence[tuple[WorkItem, WorkResult]]) -> None:
            for item, result in results:
                await observer.finished(item, result)

        if answers:
            async with self._generator.early_retries(context, report) as retries:
                await self._read(answers, context, observer, retries)

    def _detokenizer(self, item: WorkItem) -> Detokenizer | None:
        """Turns the item's tokens into text as they come; None if the text must be verified first."""
        if item.terms or protected_spans(item.text):
            return None
        return Detokenizer(self._tokenizer.decode, self._tokenizer.unsettled_ids)

    async def _read(
        self,
        answers: Sequence[_StreamedAnswer],
        context: RequestContext,
        observer: StreamObserver,
        retries: EarlyRetries,
    ) -> None:
        """Report what the predictor streams; of flagged results, start the second attempts instead."""
        by_item = {answer.attempt.item: answer for answer in answers}

        async def read(group: Sequence[Attempt], request: GenerateRequest) -> None:
            rows = [by_item[attempt.item] for attempt in group]
            async with aclosing(self._predictor.stream(request, context.headers)) as deltas:
                async for delta in deltas:
                    if not isinstance(delta, ColdStartStatus):
                        answer = _answer_of(delta, rows)
                        retries.start(await self._take(delta, answer, context, observer))
                    elif rows[0] is answers[0]:  # one group reports the wait of all
                        observer.cold_start(delta)

        await self._generator.send_groups([answer.attempt for answer in answers], context, read)

    async def _take(
        self, delta: TokenDelta, answer: _StreamedAnswer, context: RequestContext, observer: StreamObserver
    ) -> list[tuple[WorkItem, WorkResult]]:
        """Add a delta to its answer and report what it changes; returns a flagged result instead of reporting it."""
        answer.add(delta)
        item = answer.attempt.item
        if delta.end is not None:
            result = self._result(answer, delta.end, context)
            if result.flags and answer.detokenizer is None:
                return [(item, result)]
            await observer.finished(item, result)
        elif answer.text:
            observer.grown(item, answer.text)
        return []

    def _result(self, answer: _StreamedAnswer, end: GenerationEnd, context: RequestContext) -> WorkResult:
        if end.release != self._release:
            raise ReleaseMismatch(
                f"the predictor answered for release {end.release}, this transformer has {self._release}",
                serving=end.release,
            )
        generation = Generation(tuple(answer.token_ids), end.logprob, end.finish_reason)
        with Stage("guard"):
            result = self._generator.result(answer.attempt, generation)
        if not result.is_complete:
            raise PredictorTooLate(context.deadline.timeout_s)
        return result


class _StreamedAnswer:
    """The answer to one prompt so far."""

    __slots__ = ("attempt", "detokenizer", "text", "token_ids")

    def __init__(self, attempt: Attempt, detokenizer: Detokenizer | None) -> None:
        self.attempt = attempt
        self.detokenizer = detokenizer
        self.token_ids: list[int] = []
        self.text = ""
        """The text that no later token changes; empty without a detokenizer."""

    def add(self, delta: TokenDelta) -> None:
        self.token_ids += delta.token_ids
        if self.detokenizer is not None:
            self.text += self.detokenizer.add(delta.token_ids)


def _answer_of(delta: TokenDelta, answers: Sequence[_StreamedAnswer]) -> _StreamedAnswer:
    if delta.index >= len(answers):
        raise PredictorFault(
            f"the predictor streamed an answer to prompt {delta.index} of {len(answers)}; "
            "transformer and predictor must be of one version"
        )
    return answers[delta.index]
