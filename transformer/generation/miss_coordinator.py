"""Cache misses: each is generated once for all who ask for it, in this process and across replicas.

In this process equal misses share one call (:mod:`transformer.generation.single_flight`), which sends all texts that
one request leads to the predictor at once. Across replicas the holder of a text's lease generates it; the others poll
for the result, and take over when the lease ends without one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.errors import InvalidRequest, NotFound, NotReady, TooLong
from protocol.messages import CacheStatus
from transformer.cache.entries import Cache, CacheEntry
from transformer.cache.leases import NO_LEASES, LeaseState, SharedLeases
from transformer.errors import PredictorTooLate
from transformer.generation.generator import Generator
from transformer.generation.single_flight import DeadlinePassed, SharedCall, SharedResult, SingleFlight
from transformer.metrics import TransformerMetrics
from transformer.request_context import RequestContext
from transformer.texts.answers import Answer
from transformer.texts.attempts import GenerationResult
from transformer.texts.segments import Job

FIRST_POLL_S = 0.005
"""Until the first poll for another replica's result; a short title takes longer than that on any device."""
POLL_GROWTH = 1.5
"""Growth of the time between polls: on average a result is seen a quarter later than it took to generate."""
MAX_POLL_S = 0.1
"""Longest time between polls: 10 round trips a second for all texts of one call."""

Wanted = tuple[bytes, str]
"""Key and normal text: should two texts have one key, they still do not share a translation."""

_Value = GenerationResult | CacheEntry
_Call = SharedCall[Wanted, _Value]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a call's work."""

    jobs: Mapping[Wanted, Job]
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
        self._single_flight: SingleFlight[Wanted, _Value] = SingleFlight(metrics.single_flight)

    async def answer(self, jobs: Sequence[Job], context: RequestContext) -> list[Answer]:
        """Each job's answer, in order; unflagged ones are cached, also when the deadline cuts the others.

        Raises:
            YiwenError: the predictor could not answer all of them in time.
        """
        by_key = {self._key(job, context): job for job in jobs}

        async def work(wanted: Sequence[Wanted], call: _Call) -> None:
            run = _Run(by_key, replace(context, deadline=call.deadline), call)
            found = await self._sharing.acquire(wanted)
            await self._proceed(dict(zip(wanted, found, strict=True)), run)

        try:
            results = await self._single_flight.run(list(by_key), context.deadline, work)
        except DeadlinePassed:
            raise PredictorTooLate(context.deadline.timeout_s) from None
        return [_answer(job, result) for job, result in zip(jobs, results, strict=True)]

    def in_progress(self, job: Job, context: RequestContext) -> bool:
        """Whether ``job`` is being generated or waited for, so that :meth:`answer` would join that call."""
        return self._single_flight.in_progress(self._key(job, context))

    async def store(self, generated: Sequence[tuple[Job, GenerationResult]], context: RequestContext) -> None:
        """Cache the results that no guard flags. The generator has checked that they are of this release."""
        entries = {
            job.key(self._release, context.options): CacheEntry(
                job.first.normal, result.text, result.confidence
            )
            for job, result in generated
            if not result.flags
        }
        if entries:
            await self._cache.put_many(entries)

    async def close(self) -> None:
        """Cancel what is in progress."""
        await self._single_flight.close(NotReady("the transformer is stopping; retry", retry_after_s=1.0))

    def _key(self, job: Job, context: RequestContext) -> Wanted:
        return job.key(self._release, context.options), job.first.normal

    async def _proceed(self, found: Mapping[Wanted, CacheEntry | LeaseState], run: _Run) -> None:
        """Generate what no other replica generates, while waiting for the rest."""
        self._resolve_entries(found, run)
        busy = [each for each, state in found.items() if state is LeaseState.BUSY]
        own = [
            each
            for each, state in found.items()
            if state is LeaseState.HELD or state is LeaseState.UNAVAILABLE
        ]
        if own and busy:
            await asyncio.gather(self._generate(own, run), self._follow(busy, run))
        elif own:
            await self._generate(own, run)
        elif busy:
            await self._follow(busy, run)

    async def _generate(self, wanted: Sequence[Wanted], run: _Run) -> None:
        self._metrics.roles.labels("leader").inc(len(wanted))
        jobs = [run.jobs[each] for each in wanted]
        try:
            results = await self._generator.generate(jobs, run.context)
            rows = list(zip(wanted, jobs, results, strict=True))
            await self.store([(job, result) for _, job, result in rows if result is not None], run.context)
            for key, _, result in rows:
                if result is not None:
                    run.call.resolve(key, result)
        except (InvalidRequest, NotFound, TooLong) as error:
            run.call.fail_leader(wanted, error)  # it names a text by its place in the leader's request
        except Exception as error:  # noqa: BLE001  raised in those that wait
            run.call.fail(wanted, error)
        finally:
            self._sharing.release([key for key, _ in wanted])

    async def _follow(self, wanted: Sequence[Wanted], run: _Run) -> None:
        """Poll for what other replicas generate until the call's deadline; generate what they give up."""
        pause_s = FIRST_POLL_S
        waiting = list(wanted)
        while waiting:
            await asyncio.sleep(pause_s * (0.5 + 0.5 * self._rng()))
            pause_s = min(POLL_GROWTH * pause_s, MAX_POLL_S)
            if run.context.deadline.has_passed:
                return
            found = await self._poll(waiting)
            given_up = [
                each
                for each, state in found.items()
                if state is LeaseState.HELD or state is LeaseState.UNAVAILABLE
            ]
            if given_up:
                self._metrics.events.labels("taken_over").inc(len(given_up))
                await self._proceed(found, run)
                return
            self._resolve_entries(found, run)
            waiting = [each for each, state in found.items() if state is LeaseState.BUSY]

    async def _poll(self, wanted: Sequence[Wanted]) -> dict[Wanted, CacheEntry | LeaseState]:
        """The state of each text; leases that ended without a translation are claimed."""
        found = dict(zip(wanted, await self._sharing.peek(wanted), strict=True))
        free = [each for each, state in found.items() if state is LeaseState.FREE]
        if free:
            found.update(zip(free, await self._sharing.acquire(free), strict=True))
        return found

    def _resolve_entries(self, found: Mapping[Wanted, CacheEntry | LeaseState], run: _Run) -> None:
        for each, state in found.items():
            if isinstance(state, CacheEntry):
                self._metrics.roles.labels("remote").inc()
                run.call.resolve(each, state)


def _answer(job: Job, result: SharedResult[_Value]) -> Answer:
    value = result.value
    if isinstance(value, CacheEntry):
        return Answer(value.text, value.confidence, CacheStatus.SHARED)
    status = CacheStatus.MISS if result.is_leader else CacheStatus.SHARED
    return Answer(value.text, value.confidence, status, value.finish_reason, value.flags, job.first)
