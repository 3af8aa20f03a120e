"""One text at a time, whole or in pieces while it is generated: the service behind ``generate`` and its streams.

The whole answer is the pipeline's. A stream splits, looks up and stores as the pipeline does, and sends what is
settled of the first unfinished sentence while the model writes all of them. A sentence that another request generates
is waited for. Closing the iterator cancels everything that was started for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence

from protocol.messages import TextFormat, TranslateRequest
from protocol.text_stream import TextDelta, TextEnd, Usage
from transformer.pipeline import Pipeline
from transformer.predictors.readiness import ColdStartStatus
from transformer.request_context import EVERYBODY, CallerShare, RequestContext
from transformer.streaming.document_writer import DocumentWriter, Progress
from transformer.streaming.streamed_generation import StreamedGenerator
from transformer.texts.documents import (
    MOST_FOLLOW_UPS,
    Document,
    follow_up_items,
    translation_of,
    work_items,
)
from transformer.texts.work_item import WorkItem, WorkResult

_CANCEL_AGAIN_S = 0.01
"""Time after which a cancelled task that has not ended is cancelled again."""


class TextGeneration:
    """Translates single texts under one release. Keeps no state of any request."""

    def __init__(self, *, release: str, pipeline: Pipeline, generator: StreamedGenerator) -> None:
        self._release = release
        self._pipeline = pipeline
        self._generator = generator

    async def whole(
        self,
        request: TranslateRequest,
        headers: Mapping[str, str],
        received_at: float | None = None,
        share: CallerShare = EVERYBODY,
    ) -> tuple[str, TextEnd]:
        """The answer in one piece: its text, and everything else that is known of it.

        Args:
            request: of one text.
            headers: sent on to the predictor.
            received_at: as for :meth:`transformer.pipeline.Pipeline.translate`.
            share: as for it.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate`.
        """
        context = self._pipeline.begin(request, headers, received_at, share)
        (document,) = await self._pipeline.split(request)
        results = await self._pipeline.results(work_items([document]), context)
        results = await self._pipeline.followed_up([document], results, context)
        return self._end(document, results)

    async def stream(
        self,
        request: TranslateRequest,
        headers: Mapping[str, str],
        received_at: float | None = None,
        share: CallerShare = EVERYBODY,
    ) -> AsyncGenerator[TextDelta | ColdStartStatus, None]:
        """The answer in pieces.

        The joined pieces equal the whole answer, unless a guard flags a sentence that was sent already: then the last
        piece has the flags, while the whole answer may come from a second attempt.

        Args:
            request: of one text.
            headers: sent on to the predictor.
            received_at: as for :meth:`whole`.
            share: as for it.

        Raises:
            YiwenError: as :meth:`whole`.
        """
        context = self._pipeline.begin(request, headers, received_at, share)
        (document,) = await self._pipeline.split(request)
        state = _StreamState(self._pipeline.store)
        tasks = await self._start(document, context, state)
        try:
            writer = DocumentWriter(document)
            finished = has_begun = False
            while not finished:
                state.changed.clear()
                finished = all(task.done() for task in tasks)
                if state.unsent_status is not None:
                    status, state.unsent_status = state.unsent_status, None
                    yield status
                piece = writer.write(state.progress)
                if piece:
                    if not has_begun:
                        self._pipeline.count_first_text(context)
                        has_begun = True
                    yield TextDelta(piece)
                for task in tasks:
                    if task.done():
                        task.result()
                if finished and document.has_tags and state.follow_ups < MOST_FOLLOW_UPS:
                    state.follow_ups, finished = state.follow_ups + 1, False
                    tasks.append(state.watch(asyncio.create_task(self._follow_up(document, context, state))))
                if not finished:
                    await state.changed.wait()
            _, end = self._end(document, state.results)
            yield TextDelta("", end)
        finally:
            await _cancel(tasks)

    async def _start(
        self, document: Document, context: RequestContext, state: _StreamState
    ) -> list[asyncio.Task[None]]:
        """Look the segments up, and start the tasks that translate those that are missing."""
        items = work_items([document])
        own, shared = [], []
        for item, result in zip(items, await self._pipeline.look_up(items), strict=True):
            if result is not None:
                state.add(item, result)
            elif self._pipeline.in_progress(item):
                shared.append(item)
            else:
                own.append(item)
        live = document.text_format is TextFormat.TEXT
        work: list[Coroutine[None, None, None]] = []
        if own:
            work.append(self._generator.generate(own, context, state, live=live))
        if shared:
            work.append(self._wait_for(shared, context, state))
        return [state.watch(asyncio.create_task(each)) for each in work]

    async def _wait_for(
        self, items: Sequence[WorkItem], context: RequestContext, state: _StreamState
    ) -> None:
        for item, result in (await self._pipeline.results(items, context)).items():
            state.add(item, result)

    async def _follow_up(self, document: Document, context: RequestContext, state: _StreamState) -> None:
        """Translate what else helps to place tags; what fails is placed without."""
        items = follow_up_items([document], state.results)
        results = await self._pipeline.follow_up([document], state.results, context)
        for item in items:
            if item in results and results[item].error is None:
                state.add(item, results[item])
            else:
                state.progress[item] = Progress("", complete=True)
        state.changed.set()

    def _end(self, document: Document, results: Mapping[WorkItem, WorkResult]) -> tuple[str, TextEnd]:
        """The whole text, and everything else that is known of it."""
        translation = translation_of(document, results)
        self._pipeline.count([document], [translation])
        generated_tokens = sum(result.generated_tokens for result in results.values())
        end = TextEnd(
            source=translation.source,
            confidence=translation.confidence,
            cache=translation.cache,
            finish_reason=translation.finish_reason,
            flags=translation.flags,
            release=self._release,
            usage=Usage(sum(1 for _ in document.segments), generated_tokens),
            target=translation.target,
        )
        return translation.text, end


class _StreamState:
    """What the tasks of one stream have reported; its writer reads it."""

    def __init__(self, store: Callable[[Sequence[tuple[WorkItem, WorkResult]]], Awaitable[None]]) -> None:
        self.changed = asyncio.Event()
        self.unsent_status: ColdStartStatus | None = None
        self.progress: dict[WorkItem, Progress] = {}
        self.results: dict[WorkItem, WorkResult] = {}
        self.follow_ups = 0
        """How often more was asked for that helps to place tags."""
        self._store = store

    def watch(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """``task``; its end is reported as a change."""
        task.add_done_callback(lambda _: self.changed.set())
        return task

    def add(self, item: WorkItem, result: WorkResult) -> None:
        """Take in a complete translation; one with tags that is flagged is not to be used."""
        self.results[item] = result
        text = "" if item.is_tagged and result.flags else result.text
        self.progress[item] = Progress(text, complete=True)
        self.changed.set()

    def cold_start(self, status: ColdStartStatus) -> None:
        self.unsent_status = status
        self.changed.set()

    def grown(self, item: WorkItem, text: str) -> None:
        self.progress[item] = Progress(text, complete=False)
        self.changed.set()

    async def finished(self, item: WorkItem, result: WorkResult) -> None:
        await self._store([(item, result)])
        self.add(item, result)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel ``tasks``, and wait until they have ended.

    Before Python 3.12 ``asyncio.wait_for`` loses a cancellation that comes together with its result, as when a
    connection becomes free. So tasks are cancelled until they end.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
