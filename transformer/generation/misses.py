"""What the cache does not have: generated once for all who ask, here (flights) and in other replicas (leases).

One flight carries all of a request's texts that nobody is at yet, in one call to the predictor. Whose texts another
replica is at are waited for, and taken over should its lease end without a translation.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.errors import InvalidRequest, NotFound, NotReady, TooLong
from protocol.messages import CacheStatus
from transformer.cache.entries import Cache, CacheEntry
from transformer.cache.leases import NOTHING_SHARED, Claim, Sharing
from transformer.errors import PredictorTooLate
from transformer.generation.flights import Flight, Flights, Late, Shared
from transformer.generation.generator import Generator
from transformer.journey import Journey
from transformer.metrics import TransformerMetrics
from transformer.texts.answers import Answer
from transformer.texts.attempts import Made
from transformer.texts.segments import Job

FIRST_LOOK_S = 0.005
"""Until the first look at what another replica made; a short title takes longer than that on any device."""
LOOK_GROWTH = 1.5
"""Of the time between looks: what is there is seen after a quarter more than the time it took, on average."""
LONGEST_LOOK_S = 0.1
"""Bound of the time between looks: 10 round trips a second for all texts that a flight waits for."""

Wanted = tuple[bytes, str]
"""Key and normal text: should two texts ever have one key, they still do not share a translation."""

_Result = Made | CacheEntry
_Flight = Flight[Wanted, _Result]


@dataclass(frozen=True, slots=True)
class _Trip:
    """One run of a flight."""

    jobs: Mapping[Wanted, Job]
    journey: Journey
    """Of the request that started the flight, with the flight's deadline."""
    flight: _Flight


class Misses:
    """Answers for the texts of one release that the cache does not have."""

    def __init__(
        self,
        *,
        release: str,
        cache: Cache,
        generator: Generator,
        metrics: TransformerMetrics,
        sharing: Sharing = NOTHING_SHARED,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._release = release
        self._cache = cache
        self._generator = generator
        self._metrics = metrics
        self._sharing = sharing
        self._clock = clock
        self._chance = chance
        self._flights: Flights[Wanted, _Result] = Flights(metrics.flights, clock)

    async def answer(self, jobs: Sequence[Job], journey: Journey) -> list[Answer]:
        """Each job's answer, in order; what no guard objects to is cached, even when the deadline cuts the rest.

        Raises:
            YiwenError: the predictor could not answer all of them in time.
        """
        by_wanted = {self._wanted(job, journey): job for job in jobs}

        async def fly(wanted: Sequence[Wanted], flight: _Flight) -> None:
            trip = _Trip(by_wanted, replace(journey, deadline=flight.deadline), flight)
            found = await self._sharing.claim(wanted)
            await self._go_on(dict(zip(wanted, found, strict=True)), trip, "led")

        try:
            shared = await self._flights.share(list(by_wanted), journey.deadline, fly)
        except Late:
            raise PredictorTooLate(journey.allowed_s) from None
        return [_answer(job, each) for job, each in zip(jobs, shared, strict=True)]

    def under_way(self, job: Job, journey: Journey) -> bool:
        """Whether ``job`` is being generated or waited for, so that :meth:`answer` would join that."""
        return self._flights.under_way(self._wanted(job, journey))

    async def remember(self, made: Sequence[tuple[Job, Made]], journey: Journey) -> None:
        """Cache what no guard objects to. The generator has checked that it is of this release."""
        good = {
            job.key(self._release, journey.options): CacheEntry(job.first.normal, each.text, each.confidence)
            for job, each in made
            if not each.flags
        }
        if good:
            await self._cache.put_many(good)

    async def close(self) -> None:
        """End what is still under way."""
        await self._flights.close(NotReady("the transformer is stopping; retry", retry_after_s=1.0))

    def _wanted(self, job: Job, journey: Journey) -> Wanted:
        return job.key(self._release, journey.options), job.first.normal

    async def _go_on(self, found: Mapping[Wanted, CacheEntry | Claim], trip: _Trip, kind: str) -> None:
        """Generate what nobody else is at, as ``kind``, while waiting for what somebody is at."""
        self._land(found, trip)
        busy = [each for each, what in found.items() if what is Claim.BUSY]
        own = [each for each, what in found.items() if what is Claim.HELD or what is Claim.NONE]
        if own and busy:
            await asyncio.gather(self._generate(own, trip, kind), self._follow(busy, trip))
        elif own:
            await self._generate(own, trip, kind)
        elif busy:
            await self._follow(busy, trip)

    async def _generate(self, wanted: Sequence[Wanted], trip: _Trip, kind: str) -> None:
        self._count(kind, len(wanted))
        jobs = [trip.jobs[each] for each in wanted]
        try:
            made = await self._generator.generate(jobs, trip.journey)
            rows = list(zip(wanted, jobs, made, strict=True))
            await self.remember([(job, each) for _, job, each in rows if each is not None], trip.journey)
            for key, _, each in rows:
                if each is not None:
                    trip.flight.land(key, each)
        except (InvalidRequest, NotFound, TooLong) as error:
            trip.flight.refuse(wanted, error)  # about one of these texts, named by its place in its request
        except Exception as error:  # noqa: BLE001  it is those who wait that it concerns
            trip.flight.fail(wanted, error)
        finally:
            self._sharing.release([key for key, _ in wanted])

    async def _follow(self, wanted: Sequence[Wanted], trip: _Trip) -> None:
        """Wait for what other replicas are at until the flight's deadline, and go on with what they leave."""
        pause = FIRST_LOOK_S
        waiting = list(wanted)
        while waiting:
            await asyncio.sleep(pause * (0.5 + 0.5 * self._chance()))
            pause = min(LOOK_GROWTH * pause, LONGEST_LOOK_S)
            if self._clock() >= trip.journey.deadline:
                return
            found = await self._look(waiting)
            if any(what is Claim.HELD or what is Claim.NONE for what in found.values()):
                await self._go_on(found, trip, "taken_over")
                return
            self._land(found, trip)
            waiting = [each for each, what in found.items() if what is Claim.BUSY]

    async def _look(self, wanted: Sequence[Wanted]) -> dict[Wanted, CacheEntry | Claim]:
        """How things stand, after leases that ended without a translation have been asked for."""
        found = dict(zip(wanted, await self._sharing.look(wanted), strict=True))
        free = [each for each, what in found.items() if what is Claim.FREE]
        if free:
            found.update(zip(free, await self._sharing.claim(free), strict=True))
        return found

    def _land(self, found: Mapping[Wanted, CacheEntry | Claim], trip: _Trip) -> None:
        for each, what in found.items():
            if isinstance(what, CacheEntry):
                self._count("fetched", 1)
                trip.flight.land(each, what)

    def _count(self, kind: str, count: int) -> None:
        self._metrics.flights.flights.labels(kind).inc(count)


def _answer(job: Job, shared: Shared[_Result]) -> Answer:
    made = shared.value
    if isinstance(made, CacheEntry):
        return Answer(made.text, made.confidence, CacheStatus.SHARED)
    status = CacheStatus.MISS if shared.led else CacheStatus.SHARED
    return Answer(made.text, made.confidence, status, made.finish_reason, made.flags, job.first)
