"""Cache misses: each is generated once for all who ask for it, in this process and across replicas.

In this process equal misses share one call (:mod:`transformer.generation.single_flight`) for all texts that one
request leads. Across replicas the holder of a text's lease generates it; the others poll for the result, and take
over when the lease ends without one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.error_codes import PER_TEXT_CODES, ErrorCode
from protocol.errors import InvalidRequest, NotFound, NotReady, TooLong, YiwenError
from protocol.messages import CacheStatus
from transformer.cache.entries import Cache, CacheEntry
from transformer.cache.leases import NO_LEASES, LeaseState, SharedLeases
from transformer.errors import PredictorTooLate
from transformer.generation.generator import Generator
from transformer.generation.item_keys import key_of
from transformer.generation.single_flight import DeadlinePassed, SharedCall, SharedResult, SingleFlight
from transformer.metrics import TransformerMetrics
from transformer.request_context import RequestContext
from transformer.texts.work_item import WorkItem, WorkResult

FIRST_POLL_S = 0.005
"""Until the first poll for another replica's result; a short title takes longer than that on any device."""
POLL_GROWTH = 1.5
"""Growth of the time between polls: on average a result is seen a quarter later than it took to generate."""
MAX_POLL_S = 0.1
"""Longest time between polls: 10 round trips a second for all texts of one call."""

_Call = SharedCall[WorkItem, WorkResult]
_States = Mapping[WorkItem, CacheEntry | LeaseState]
"""What the shared cache has of each item: its translation, or the state of its lease."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a call's work."""

    lookups: Mapping[WorkItem, tuple[bytes, str]]
    """The key and the text of each item, as the shared cache needs them."""
    context: RequestContext
    """Of the leader's request, with the call's deadline."""
    call: _Call


class MissCoordinator:
    """Answers the texts of one release that the cache does not have."""

    def __init__(
        self,
        *,
        release: str,
        cache: Cache,
        generator: Generator,
        metrics: TransformerMetrics,
        sharing: SharedLeases = NO_LEASES,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Start nothing yet.

        Args:
            release: id of the release that answers.
            cache: keeps the results that no guard flags.
            generator: generates what nobody else generates.
            metrics: of this process.
            sharing: the leases that replicas share.
            rng: uniform in [0, 1); spreads the polls of several replicas.
        """
        self._release = release
        self._cache = cache
        self._generator = generator
        self._metrics = metrics.single_flight
        self._sharing = sharing
        self._rng = rng
        self._single_flight: SingleFlight[WorkItem, WorkResult] = SingleFlight(metrics.single_flight)

    async def answer(self, items: Sequence[WorkItem], context: RequestContext) -> list[WorkResult]:
        """The result of each item, in order; unflagged ones are cached, also when the deadline cuts the others.

        With ``context.per_text`` an error that concerns one text is its result.

        Raises:
            YiwenError: the predictor could not answer all of them in time.
        """

        async def work(led: Sequence[WorkItem], call: _Call) -> None:
            lookups = {item: (key_of(item, self._release), item.text) for item in led}
            run = _Run(lookups, replace(context, deadline=call.deadline), call)
            await self._proceed(await self._acquire(led, run), run)

        too_late = PredictorTooLate(context.deadline.timeout_s)
        tolerates = _concerns_one_text if context.per_text else None
        try:
            results = await self._single_flight.run_each(items, context.deadline, work, tolerates)
        except DeadlinePassed:
            raise too_late from None
        return [_result_of(result, too_late) for result in results]

    def in_progress(self, item: WorkItem) -> bool:
        """Whether ``item`` is being generated or waited for, so that :meth:`answer` would join that call."""
        return self._single_flight.in_progress(item)

    async def store(self, results: Iterable[tuple[WorkItem, WorkResult]]) -> None:
        """Cache the complete results that no guard flags. The generator has checked that they are of this release."""
        await self._store((key_of(item, self._release), item, result) for item, result in results)

    async def close(self) -> None:
        """Cancel what is in progress."""
        await self._single_flight.close(
            NotReady("the transformer is stopping; retry", code=ErrorCode.SHUTTING_DOWN, retry_after_s=1.0)
        )

    async def _store(self, results: Iterable[tuple[bytes, WorkItem, WorkResult]]) -> None:
        """As :meth:`store`, of results with their keys."""
        entries = {
            key: CacheEntry(item.text, result.text, result.confidence)
            for key, item, result in results
            if result.is_complete and not result.flags
        }
        if entries:
            await self._cache.put_many(entries)

    async def _proceed(self, states: _States, run: _Run) -> None:
        """Generate what no other replica generates, while waiting for the rest."""
        self._resolve_entries(states, run)
        busy = [item for item, state in states.items() if state is LeaseState.BUSY]
        own = _own(states)
        if own and busy:
            await asyncio.gather(self._generate(own, run), self._follow(busy, run))
        elif own:
            await self._generate(own, run)
        elif busy:
            await self._follow(busy, run)

    async def _generate(self, items: Sequence[WorkItem], run: _Run) -> None:
        async def report(results: Sequence[tuple[WorkItem, WorkResult]]) -> None:
            await self._store((run.lookups[item][0], item, result) for item, result in results)
            for item, result in results:
                if result.is_complete:
                    run.call.resolve(item, result)

        def refuse(item: WorkItem, error: YiwenError) -> None:
            run.call.fail_leader([item], error)

        self._metrics.roles["leader",].inc(len(items))
        try:
            await self._generator.generate(
                items, run.context, report, refuse if run.context.per_text else None
            )
        except (InvalidRequest, NotFound, TooLong) as error:
            run.call.fail_leader(items, error)  # it names a text by its place in the leader's request
        except Exception as error:  # noqa: BLE001  raised in those that wait
            run.call.fail(items, error)
        finally:
            self._sharing.release([run.lookups[item][0] for item in items])

    async def _follow(self, items: Sequence[WorkItem], run: _Run) -> None:
        """Poll for what other replicas generate until the call's deadline; generate what they give up."""
        pause_s = FIRST_POLL_S
        waiting = list(items)
        while waiting:
            await asyncio.sleep(pause_s * (0.5 + 0.5 * self._rng()))
            pause_s = min(POLL_GROWTH * pause_s, MAX_POLL_S)
            if run.context.deadline.has_passed:
                return
            states = await self._poll(waiting, run)
            if given_up := _own(states):
                self._metrics.events.labels("taken_over").inc(len(given_up))
                await self._proceed(states, run)
                return
            self._resolve_entries(states, run)
            waiting = [item for item, state in states.items() if state is LeaseState.BUSY]

    async def _acquire(self, items: Sequence[WorkItem], run: _Run) -> dict[WorkItem, CacheEntry | LeaseState]:
        """LeaseState the lease of each item."""
        states = await self._sharing.acquire([run.lookups[item] for item in items])
        return dict(zip(items, states, strict=True))

    async def _poll(self, items: Sequence[WorkItem], run: _Run) -> dict[WorkItem, CacheEntry | LeaseState]:
        """The state of each item; leases that ended without a translation are acquired."""
        found = await self._sharing.peek([run.lookups[item] for item in items])
        states = dict(zip(items, found, strict=True))
        free = [item for item, state in states.items() if state is LeaseState.FREE]
        if free:
            states.update(await self._acquire(free, run))
        return states

    def _resolve_entries(self, states: _States, run: _Run) -> None:
        for item, state in states.items():
            if isinstance(state, CacheEntry):
                self._metrics.roles["remote",].inc()
                run.call.resolve(item, WorkResult(state.text, state.confidence, CacheStatus.SHARED))


def _concerns_one_text(error: Exception) -> bool:
    return isinstance(error, DeadlinePassed) or (
        isinstance(error, YiwenError) and error.code in PER_TEXT_CODES
    )


def _result_of(result: SharedResult[WorkResult] | Exception, too_late: PredictorTooLate) -> WorkResult:
    if isinstance(result, Exception):
        return WorkResult.failed(result if isinstance(result, YiwenError) else too_late)
    return result.value if result.is_leader else result.value.shared()


def _own(states: _States) -> list[WorkItem]:
    """Items that this process generates: it has their leases, or there is no lease to be had."""
    return [
        item for item, state in states.items() if state is LeaseState.HELD or state is LeaseState.UNAVAILABLE
    ]
