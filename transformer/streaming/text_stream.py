"""One text at a time, whole or in pieces as it is generated: what stands behind ``generate`` and its streams.

The whole answer is the pipeline's own. A stream splits, looks up and remembers as the pipeline does, and sends what
is settled of the first sentence that is not out yet, while the model writes all of them. Somebody else's generation
of the same sentence is waited for. Whoever closes the iterator has everything dropped that was begun for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence

from protocol.messages import CacheStatus, TextFormat, TranslateRequest
from protocol.text_stream import TextDelta, TextEnd, Usage
from transformer.pipeline import Pipeline
from transformer.predictors.readiness import ColdStartStatus
from transformer.predictors.usage import TokenUsage, counting
from transformer.request_context import RequestContext
from transformer.streaming.document_writer import DocumentWriter, Progress
from transformer.streaming.streamed_generation import StreamedGenerator
from transformer.texts.answers import Answer, translation_of
from transformer.texts.attempts import GenerationResult
from transformer.texts.segments import Document, Identity, Job, jobs_of

_HEARD_S = 0.01
"""Until a task that was cancelled is cancelled once more."""


class TextGeneration:
    """Translates single texts under one release. Holds no state of any request."""

    def __init__(self, *, release: str, pipeline: Pipeline, generator: StreamedGenerator) -> None:
        self._release = release
        self._pipeline = pipeline
        self._generator = generator

    async def whole(self, request: TranslateRequest, headers: Mapping[str, str]) -> tuple[str, TextEnd]:
        """The answer in one piece, and all else that is known of it.

        Args:
            request: of one text.
            headers: what travels on to the predictor.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate`.
        """
        context = self._pipeline.begin(request, headers)
        (document,) = await self._pipeline.split(request)
        tally = TokenUsage()
        with counting(tally):
            answers = await self._pipeline.answers(jobs_of([document]), context)
        return self._end(document, answers, tally)

    async def stream(
        self, request: TranslateRequest, headers: Mapping[str, str]
    ) -> AsyncGenerator[TextDelta | ColdStartStatus, None]:
        """The answer in pieces; arguments and errors as in :meth:`whole`.

        Pieces add up to the whole answer, unless a guard objects to a sentence that is out already: then the last
        piece has its flags, where the whole answer may come from a second attempt.
        """
        context = self._pipeline.begin(request, headers)
        (document,) = await self._pipeline.split(request)
        board = _Board(lambda job, made: self._pipeline.store([(job, made)], context))
        tally = TokenUsage()
        tasks = await self._start(document, context, board, tally)
        try:
            writer = DocumentWriter(document)
            finished = False
            while not finished:
                board.changed.clear()
                finished = all(task.done() for task in tasks)
                if board.news is not None:
                    warming, board.news = board.news, None
                    yield warming
                piece = writer.write(board.progress)
                if piece:
                    yield TextDelta(piece)
                for task in tasks:
                    if task.done():
                        task.result()
                if not finished:
                    await board.changed.wait()
            _, end = self._end(document, board.answers, tally)
            yield TextDelta("", end)
        finally:
            await _drop(tasks)

    async def _start(
        self, document: Document, context: RequestContext, board: _Board, tally: TokenUsage
    ) -> list[asyncio.Task[None]]:
        """What is to be waited for, once the cache has been asked."""
        jobs = jobs_of([document])
        found = await self._pipeline.look_up(jobs, context)
        own, shared = [], []
        for job, answer in zip(jobs, found, strict=True):
            if answer is not None:
                board.take(job.first.identity, answer)
            elif self._pipeline.in_progress(job, context):
                shared.append(job)
            else:
                own.append(job)
        live = document.text_format is TextFormat.TEXT
        work = []
        if own:
            work.append(self._generator.generate(own, context, board, live=live))
        if shared:
            work.append(self._wait_for(shared, context, board))
        return [board.watch(asyncio.create_task(_counted(each, tally))) for each in work]

    async def _wait_for(self, jobs: Sequence[Job], context: RequestContext, board: _Board) -> None:
        for identity, answer in (await self._pipeline.answers(jobs, context)).items():
            board.take(identity, answer)

    def _end(
        self, document: Document, answers: Mapping[Identity, Answer], tally: TokenUsage
    ) -> tuple[str, TextEnd]:
        """The whole text, and all else that is known of it."""
        translation = translation_of(document, answers)
        self._pipeline.count([document], [translation])
        end = TextEnd(
            source=translation.source,
            confidence=translation.confidence,
            cache=translation.cache,
            finish_reason=translation.finish_reason,
            flags=translation.flags,
            release=self._release,
            usage=Usage(sum(1 for _ in document.segments), tally.generated_tokens),
        )
        return translation.text, end


class _Board:
    """Where the tasks of one stream put what they know, and its writer reads it."""

    def __init__(self, remember: Callable[[Job, GenerationResult], Awaitable[None]]) -> None:
        self.changed = asyncio.Event()
        self.news: ColdStartStatus | None = None
        self.progress: dict[Identity, Progress] = {}
        self.answers: dict[Identity, Answer] = {}
        self._remember = remember

    def watch(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """``task``, whose end is a change."""
        task.add_done_callback(lambda _: self.changed.set())
        return task

    def take(self, identity: Identity, answer: Answer) -> None:
        """A complete answer."""
        self.answers[identity] = answer
        self.progress[identity] = Progress(answer.text, complete=True)
        self.changed.set()

    def warming(self, warming: ColdStartStatus) -> None:
        self.news = warming
        self.changed.set()

    def grown(self, job: Job, text: str) -> None:
        self.progress[job.first.identity] = Progress(text, complete=False)
        self.changed.set()

    async def made(self, job: Job, made: GenerationResult) -> None:
        await self._remember(job, made)
        first, generated = job.first, CacheStatus.MISS
        self.take(
            first.identity,
            Answer(made.text, made.confidence, generated, made.finish_reason, made.flags, first),
        )


async def _counted(work: Awaitable[None], tally: TokenUsage) -> None:
    with counting(tally):
        await work


async def _drop(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel ``tasks``, and wait until they have ended.

    Before Python 3.12 ``asyncio.wait_for`` forgets a cancellation that comes while its result does, as when a
    connection becomes free. So it is said again until it is heard.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_HEARD_S)
    await asyncio.gather(*tasks, return_exceptions=True)
