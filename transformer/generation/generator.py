"""Translations that the cache does not have: prompts, the predictor, guards, second attempts.

Prompts go to the predictor in groups (:mod:`transformer.generation.groups`).
:mod:`transformer.generation.attempts` says how attempts differ, :mod:`transformer.texts.guards` flags their results.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from protocol.errors import ReleaseMismatch, YiwenError
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, Generation, SamplingParams
from protocol.priority import urgency_for
from protocol.prompt_encoder import REPLACEMENT, EncodedPrompt, PromptEncoder, PromptText
from serving.stages import Stage, count
from transformer.errors import AdmissionRejected, PredictorFault, PredictorTooLate
from transformer.generation.attempts import (
    Attempt,
    best,
    first_attempt,
    second_attempts,
    translation_by_glossary,
)
from transformer.generation.early_retries import EarlyRetries, FlaggedResults
from transformer.generation.fair_queue import FairQueue, Work
from transformer.generation.groups import Grouping, grouped, request_groups, run_groups
from transformer.metrics import TransformerMetrics
from transformer.predictors.admission import AdmissionController, request_tokens
from transformer.predictors.interface import Predictor
from transformer.request_context import RequestContext
from transformer.text_workers import TextWorkers, size_of
from transformer.texts.guards import Guards
from transformer.texts.terms import replace_renderings
from transformer.texts.work_item import WorkItem, WorkResult

RESULTS_AT_ONCE = 32
"""Answers that are checked before the event loop gets a turn; a check takes 0.1 to 0.5 ms."""

Refuse = Callable[[WorkItem, YiwenError], None]
"""Receives an item that no prompt can be made of."""
Report = Callable[[Sequence[tuple[WorkItem, WorkResult]]], Awaitable[None]]
"""Receives results as they come."""
AttemptReport = Callable[[Sequence[tuple[Attempt, WorkResult]]], Awaitable[None]]


class Generator:
    """Has texts translated under one release. Keeps no state of any request."""

    def __init__(
        self,
        *,
        release: str,
        tokenizer: PromptEncoder,
        guards: Guards,
        predictor: Predictor,
        admission: AdmissionController,
        grouping: Grouping,
        metrics: TransformerMetrics,
        workers: TextWorkers | None = None,
        queue: FairQueue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet.

        Args:
            release: id of the release whose tokenizer makes the prompts.
            tokenizer: of the release.
            guards: of the release.
            predictor: continues prompts.
            admission: bounds what all requests of this process send.
            grouping: of the prompts of one request.
            metrics: of this process.
            workers: threads that large texts are tokenized in; None makes some.
            queue: in front of the predictor; None lets everything through.
            clock: monotonic, seconds; for the metrics.
        """
        self._release = release
        self._tokenizer = tokenizer
        self._sampling = tokenizer.spec.sampling.params
        self._tags = tokenizer.spec.tags
        self._guards = guards
        self._predictor = predictor
        self._admission = admission
        self._grouping = grouping
        self._metrics = metrics
        self._workers = workers or TextWorkers()
        self._queue = queue or FairQueue(0)
        self._clock = clock

    async def generate(
        self, items: Sequence[WorkItem], context: RequestContext, report: Report, refuse: Refuse | None = None
    ) -> None:
        """Translate each item, and report each once; results of a group come as soon as it is done.

        An item that the deadline cut is reported with a result that is not complete. If a group fails, those in
        flight are still reported, and the items of the others are not.

        Args:
            items: distinct.
            context: of the request.
            report: receives the results.
            refuse: receives the items that no prompt can be made of; without it the first of them is raised.

        Raises:
            YiwenError: the predictor could not answer, or no prompt can be made of a text.
        """
        known = [(item, result) for item in items if (result := translation_by_glossary(item)) is not None]
        if known:
            await report(known)
        solved = {item for item, _ in known}
        async with self.early_retries(context, report) as retries:

            async def report_first(results: Sequence[tuple[Attempt, WorkResult]]) -> None:
                retries.start([(attempt.item, result) for attempt, result in results if result.flags])
                if unflagged := [(attempt.item, result) for attempt, result in results if not result.flags]:
                    await report(unflagged)

            attempts = [self.first_attempt(item) for item in items if item not in solved]
            await self._attempt(attempts, context, report_first, refuse)

    def first_attempt(self, item: WorkItem) -> Attempt:
        """The item's text as it is, sampled as the release advises."""
        return first_attempt(item, self._sampling)

    async def sample(
        self, items: Sequence[WorkItem], params: SamplingParams, context: RequestContext
    ) -> dict[WorkItem, WorkResult]:
        """A sampled translation of each item; one that is flagged, incomplete or failed is missing.

        Args:
            items: distinct.
            params: how tokens are drawn.
            context: of the request.
        """
        results: dict[WorkItem, WorkResult] = {}

        async def report(group: Sequence[tuple[Attempt, WorkResult]]) -> None:
            results.update(
                (attempt.item, result) for attempt, result in group if result.is_complete and not result.flags
            )

        with contextlib.suppress(YiwenError):
            await self._attempt([Attempt(item, item.text, params) for item in items], context, report)
        return results

    def early_retries(self, context: RequestContext, report: Report) -> EarlyRetries:
        """Second attempts of one call, whose results are reported."""

        async def retry(flagged: FlaggedResults, *, needs_admission: bool) -> None:
            results = await self._retry_flagged(flagged, context, needs_admission=needs_admission)
            await report([(item, result) for (item, _), result in zip(flagged, results, strict=True)])

        return EarlyRetries(partial(retry, needs_admission=True), partial(retry, needs_admission=False))

    async def _retry_flagged(
        self, results: FlaggedResults, context: RequestContext, *, needs_admission: bool
    ) -> list[WorkResult]:
        """``results``, with a second attempt in place of each flagged one that it improved.

        Args:
            results: flagged results.
            context: of the request.
            needs_admission: whether AdmissionRejected is raised; otherwise the results stay as they are.
        """
        attempts = [each for item, first in results for each in self._second_attempts(item, first, context)]
        answered: dict[WorkItem, list[tuple[Attempt, WorkResult]]] = {}
        tokens: Counter[WorkItem] = Counter()
        for params in {attempt.params: None for attempt in attempts}:
            same = [attempt for attempt in attempts if attempt.params == params]
            distinct = {attempt.prompt_identity: attempt for attempt in same}
            new_results = await self._try_again(
                list(distinct.values()), context, needs_admission=needs_admission and not answered
            )
            answers = dict(zip(distinct, new_results, strict=True))
            for attempt, answer in zip(distinct.values(), new_results, strict=True):
                tokens[attempt.item] += answer.generated_tokens
            for attempt in same:
                answered.setdefault(attempt.item, []).append((attempt, answers[attempt.prompt_identity]))
        return [
            replace(
                best(first, self._candidates(item, first, answered[item])),
                generated_tokens=first.generated_tokens + tokens[item],
            )
            if item in answered
            else first
            for item, first in results
        ]

    def _second_attempts(self, item: WorkItem, first: WorkResult, context: RequestContext) -> list[Attempt]:
        if not first.is_complete or not self._guards.retries:
            return []
        attempts = second_attempts(item, first, is_limited=context.max_new_tokens is not None)
        # A text that its masks made too long would fail the call for all texts.
        return [attempt for attempt in attempts if self._tokenizer.fits(attempt.text)]

    def _candidates(
        self, item: WorkItem, first: WorkResult, answers: Sequence[tuple[Attempt, WorkResult]]
    ) -> list[WorkResult]:
        """The results of second attempts; the one that changes the first answer least comes first."""
        whole = [result for attempt, result in answers if attempt.rendering_of is None]
        renderings = {
            attempt.rendering_of: result.text
            for attempt, result in answers
            if attempt.rendering_of is not None and result.finish_reason is FinishReason.STOP
        }
        text = replace_renderings(item.terms, first.text, renderings) if renderings else None
        if text is None:
            return whole
        return [self._judged(item, text, replace(first, flags=())), *whole]

    async def _try_again(
        self, attempts: Sequence[Attempt], context: RequestContext, *, needs_admission: bool
    ) -> list[WorkResult]:
        """The results of attempts; a failure is ignored: the caller has a first result, if a flagged one."""
        results: dict[tuple[WorkItem | str, ...], WorkResult] = {}

        async def report(group: Sequence[tuple[Attempt, WorkResult]]) -> None:
            results.update((attempt.prompt_identity, result) for attempt, result in group)

        try:
            await self._attempt(attempts, context, report, is_second=True)
        except YiwenError as error:
            if needs_admission and isinstance(error, AdmissionRejected):
                raise
        failed = WorkResult("", 0.0, finish_reason=FinishReason.DEADLINE)
        return [results.get(attempt.prompt_identity, failed) for attempt in attempts]

    async def _attempt(
        self,
        attempts: Sequence[Attempt],
        context: RequestContext,
        report: AttemptReport,
        refuse: Refuse | None = None,
        *,
        is_second: bool = False,
    ) -> None:
        """Report the results of attempts with the same sampling parameters, group by group."""

        async def send(group: Sequence[Attempt], request: GenerateRequest) -> None:
            response = await self._call(request, context)
            results = []
            with Stage("guard"):
                for row in zip(group, response.generations, strict=True):
                    results.append((row[0], self.result(*row)))
                    if len(results) % RESULTS_AT_ONCE == 0:
                        await asyncio.sleep(0)  # the checks of a large group would hold up all other requests
            await report(results)

        if attempts:
            await self.send_groups(attempts, context, send, refuse, is_second=is_second)

    async def send_groups(
        self,
        attempts: Sequence[Attempt],
        context: RequestContext,
        send: Callable[[Sequence[Attempt], GenerateRequest], Awaitable[None]],
        refuse: Refuse | None = None,
        *,
        is_second: bool = False,
    ) -> None:
        """Call ``send`` for each group of attempts, a bounded number at a time, once all of them are admitted.

        Args:
            attempts: with the same sampling parameters.
            context: of the request; no group is sent once its deadline has passed.
            send: sends the request of one group and reads its answer.
            refuse: as in :meth:`generate`.
            is_second: whether they are second attempts, which the predictor serves before first ones.

        Raises:
            YiwenError: no prompt can be made of a text, the attempts are not admitted, or what ``send`` raised.
        """
        size = self._grouping.size
        attempts, request = await self._request(attempts, context, refuse)
        if not attempts:
            return
        with self._admission.admit(request_tokens(request), context.share.caller) as complete:

            async def run(group: Sequence[Attempt], group_request: GenerateRequest) -> None:
                tokens = request_tokens(group_request)
                queued = self._clock()
                work = Work(context.share.caller, context.share.weight, tokens, slots=len(group))
                async with self._queue.slot(work) as is_within_share:
                    self._metrics.predictor.queue_seconds[("fair",)].observe(self._clock() - queued)
                    urgency = urgency_for(is_bulk=not is_within_share, is_second_attempt=is_second)
                    await send(group, _timed(group_request, context, urgency))
                complete(tokens)

            groups = zip(grouped(attempts, size), request_groups(request, size), strict=True)
            await run_groups([partial(run, *group) for group in groups], self._grouping.in_flight)

    async def _request(
        self, attempts: Sequence[Attempt], context: RequestContext, refuse: Refuse | None
    ) -> tuple[Sequence[Attempt], GenerateRequest]:
        """The attempts that prompts can be made of, and one request for them, without a deadline."""
        started = self._clock()
        texts = [each.prompt for each in attempts]
        with Stage("tokenize"):
            encoded, repeats = await self._workers.run(
                size_of([text.text for text in texts]),
                lambda: (
                    self._encode(texts, context, each=refuse is not None),
                    [self._guards.max_repeats(attempt.item.text) for attempt in attempts],
                ),
            )
        self._metrics.tokenize_seconds.observe(self._clock() - started)
        kept: list[tuple[Attempt, EncodedPrompt, int]] = []
        for attempt, prompt, max_repeats in zip(attempts, encoded, repeats, strict=True):
            if not isinstance(prompt, YiwenError):
                kept.append((attempt, prompt, max_repeats))
                self._count_tokens(attempt.item, "prompt", len(prompt.token_ids))
            elif refuse is not None:
                refuse(attempt.item, prompt)
        return [attempt for attempt, _, _ in kept], GenerateRequest(
            prompts=tuple(prompt.token_ids for _, prompt, _ in kept),
            max_new_tokens=tuple(prompt.max_new_tokens for _, prompt, _ in kept),
            params=attempts[0].params,
            release=self._release,
            max_repeats=tuple(max_repeats for _, _, max_repeats in kept),
        )

    def _encode(
        self, texts: Sequence[PromptText], context: RequestContext, *, each: bool
    ) -> Sequence[EncodedPrompt | YiwenError]:
        if each:
            return self._tokenizer.encode_each(texts, context.max_new_tokens)
        return self._tokenizer.encode(texts, context.max_new_tokens)

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

    def result(self, attempt: Attempt, generation: Generation) -> WorkResult:
        """What the model generated for an attempt, as text, with the flags of the guards."""
        self._count_tokens(attempt.item, "generated", len(generation.token_ids))
        written = self._tokenizer.decode(generation.token_ids)
        if generation.finish_reason is not FinishReason.STOP:
            written = written.rstrip(
                REPLACEMENT
            )  # the last token may have been the first half of a character
        written = written.strip()
        if attempt.item.is_tagged and self._tags is not None:
            written = self._tags.unwrapped(written)
        result = WorkResult(
            written,
            generation.confidence,
            finish_reason=generation.finish_reason,
            generated_tokens=len(generation.token_ids),
        )
        if not result.is_complete or attempt.rendering_of is not None:
            return result
        return self._judged(attempt.item, attempt.unmask(written), result)

    def _count_tokens(self, item: WorkItem, kind: str, tokens: int) -> None:
        self._metrics.tokens[item.source, item.target, kind].inc(tokens)
        count(f"{kind}_tokens", tokens)

    def _judged(self, item: WorkItem, text: str | None, result: WorkResult) -> WorkResult:
        """``result`` with ``text`` and its flags; None as text is an answer that lost what it had to keep."""
        flags: tuple[str, ...] = ("placeholder",)
        if text is not None:
            flags = self._guards.flags(
                item.text, text, item.target, result.finish_reason, item.terms, item.source
            )
        if not flags and text == result.text:
            return result
        for kind in flags:
            self._metrics.guard_failures.labels(kind).inc()
        return replace(result, text=text or "", flags=flags)


def _timed(request: GenerateRequest, context: RequestContext, urgency: int) -> GenerateRequest:
    """``request`` with its urgency, and the time that is left to send it and read its answer."""
    remaining_ms = context.deadline.remaining_ms()
    if remaining_ms < 1:
        raise PredictorTooLate(context.deadline.timeout_s)
    return replace(request, deadline_ms=remaining_ms, urgency=urgency)
