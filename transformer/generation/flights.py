"""Work in flight that several callers wait for, each piece done once. It knows nothing of what the work is.

A *flight* is one run of the work for some keys, in a task that belongs to none of its callers: one that is cancelled
or late leaves the others alone, and only when the last one leaves is the flight cancelled. A caller may wait for keys
of several flights, and a flight's keys may *land* one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from transformer.metrics import FlightMetrics

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SLACK_S = 0.05
"""A failure so close to a flight's deadline is put down to the deadline."""
GRACE_S = 0.25
"""How much longer a caller waits for work that ends at its deadline by itself and then hands over what it has."""


class Late(Exception):
    """The deadline came before the work was done."""


class Refused(Exception):
    """The work failed for a reason that concerns its first caller alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Shared(Generic[V]):
    """What one key came to."""

    value: V
    led: bool
    """Whether the flight was this caller's own."""


@dataclass(slots=True, eq=False)
class _Seat(Generic[K, V]):
    """One key of a flight."""

    flight: Flight[K, V]
    landed: asyncio.Future[V]
    waiting: dict[object, float] = field(default_factory=dict)
    """Deadlines of those who wait, by caller."""


class Flight(Generic[K, V]):
    """What the work reports to. Keys that it reports nothing of were cut by the deadline."""

    def __init__(self, seats: dict[K, _Seat[K, V]], deadline: float, clock: Callable[[], float]) -> None:
        self.deadline = deadline
        """Of the work, on the clock, seconds; later when it is done again for those who have more time."""
        self.open: dict[K, _Seat[K, V]] = {}
        """Seats of the keys that have not landed yet."""
        self._seats = seats
        """Of all flights; nobody joins a key that has landed."""
        self._clock = clock

    def land(self, key: K, value: V) -> None:
        """Give ``value`` to all who wait for ``key``, which is over then."""
        seat = self._end(key)
        if seat is not None:
            seat.landed.set_result(value)

    def fail(self, keys: Iterable[K], error: Exception) -> None:
        """Raise ``error`` for all who wait for these keys; at the deadline, only where nobody has more time."""
        late = self._clock() >= self.deadline - SLACK_S
        for key in [key for key in keys if key in self.open]:
            if not (late and self.open[key].waiting and self._latest(key) > self.deadline):
                self._raise(key, error)

    def refuse(self, keys: Iterable[K], error: Exception) -> None:
        """Raise ``error`` for the first caller; the others begin anew with these keys."""
        for key in list(keys):
            self._raise(key, Refused(error))

    def abandon(self, error: Exception) -> list[K]:
        """Raise ``error`` for whoever still waits, and take no more reports; returns the keys that are cut off."""
        keys = list(self.open)
        for key in keys:
            self._raise(key, error)
        return keys

    def has_waiting(self) -> bool:
        """Whether anybody waits for a key that has not landed."""
        return any(seat.waiting for seat in self.open.values())

    def extend(self) -> bool:
        """Cut what nobody has more time for than the work had; the rest gets the longest time anybody has.

        Returns:
            Whether there is a rest, for which the work is to be done again.
        """
        for key in [key for key in self.open if self._latest(key) <= self.deadline]:
            self._raise(key, Late())
        self.deadline = max(map(self._latest, self.open), default=self.deadline)
        return bool(self.open)

    def _latest(self, key: K) -> float:
        return max(self.open[key].waiting.values(), default=float("-inf"))

    def _raise(self, key: K, error: Exception) -> None:
        seat = self._end(key)
        if seat is not None:
            seat.landed.set_exception(error)
            seat.landed.exception()  # whoever waits reads it; that nobody does is no fault

    def _end(self, key: K) -> _Seat[K, V] | None:
        seat = self.open.pop(key, None)
        if seat is not None:
            del self._seats[key]
        return seat


Work = Callable[[Sequence[K], Flight[K, V]], Awaitable[None]]
"""Does what it can for the keys until the flight's deadline, and reports to the flight."""


@dataclass(slots=True, eq=False)
class _Caller(Generic[K, V]):
    """One who waits."""

    deadline: float
    work: Work[K, V]
    seats: dict[K, _Seat[K, V]] = field(default_factory=dict)
    led: set[K] = field(default_factory=set)

    def refused(self) -> list[K]:
        """Keys to begin anew with; raises what all hope is lost for."""
        again: list[K] = []
        for key, seat in self.seats.items():
            error = seat.landed.exception() if seat.landed.done() else None
            if isinstance(error, Refused):
                if key in self.led:
                    raise error.error
                again.append(key)
            elif error is not None:
                seat.landed.result()
        return again


class Flights(Generic[K, V]):
    """All flights of one process; belongs to one event loop."""

    def __init__(self, metrics: FlightMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._seats: dict[K, _Seat[K, V]] = {}
        self._tasks: dict[Flight[K, V], asyncio.Task[None]] = {}
        self._ending: dict[K, asyncio.Task[None]] = {}
        """Abandoned flights that have not ended yet."""

    def under_way(self, key: K) -> bool:
        """Whether a flight for ``key`` could be joined now."""
        return key in self._seats

    async def share(self, keys: Sequence[K], deadline: float, work: Work[K, V]) -> list[Shared[V]]:
        """What each key comes to, in order: of a flight that is under way, else of one that does ``work``.

        Args:
            keys: distinct.
            deadline: this caller's, on the clock, seconds. Work that an earlier deadline of its first caller's ended
                is done again, for as long as the longest of those who still wait have time.
            work: done once for all keys that no flight is under way for.

        Raises:
            Late: the deadline came first.
            Exception: whatever the work failed with, the same for all who wait.
        """
        caller: _Caller[K, V] = _Caller(deadline, work)
        again = list(keys)
        try:
            while again:
                self._board(caller, again)
                again = await self._wait(caller)
        finally:
            self._leave(caller)
        return [Shared(caller.seats[key].landed.result(), key in caller.led) for key in keys]

    async def close(self, error: Exception) -> None:
        """Cancel all flights; who still waits gets ``error``."""
        for flight in list(self._tasks):
            self._abandon(flight, error)
        await asyncio.gather(*self._ending.values(), return_exceptions=True)

    def _board(self, caller: _Caller[K, V], keys: Sequence[K]) -> None:
        new = [key for key in keys if key not in self._seats]
        self._metrics.flights.labels("joined").inc(len(keys) - len(new))
        if new:
            self._start(new, caller)
        caller.led.update(new)
        for key in keys:
            caller.seats[key] = self._seats[key]
            caller.seats[key].waiting[caller] = caller.deadline

    def _start(self, keys: Sequence[K], caller: _Caller[K, V]) -> None:
        flight = Flight(self._seats, caller.deadline, self._clock)
        loop = asyncio.get_running_loop()
        for key in keys:
            flight.open[key] = self._seats[key] = _Seat(flight, loop.create_future())
        before = {self._ending[key] for key in keys if key in self._ending}
        task = asyncio.create_task(self._fly(flight, caller.work, before))
        self._tasks[flight] = task
        task.add_done_callback(lambda _: self._tasks.pop(flight))

    async def _fly(
        self, flight: Flight[K, V], work: Work[K, V], before: Iterable[asyncio.Task[None]]
    ) -> None:
        try:
            if before:
                await asyncio.wait(before)
            await self._do(flight, work)
            while flight.extend():
                self._metrics.flights.labels("repeated").inc(len(flight.open))
                await self._do(flight, work)
        finally:
            flight.abandon(Late())

    async def _do(self, flight: Flight[K, V], work: Work[K, V]) -> None:
        try:
            await work(list(flight.open), flight)
        except Exception as error:  # noqa: BLE001  it is those who wait that it concerns
            flight.fail(flight.open, error)

    async def _wait(self, caller: _Caller[K, V]) -> list[K]:
        """Return when all have landed, or with the keys to begin anew with; raise what one failed with, or Late."""
        for limit in (caller.deadline, caller.deadline + GRACE_S):
            pending = {seat.landed for seat in caller.seats.values() if not seat.landed.done()}
            if pending:
                timeout = max(0.0, limit - self._clock())
                await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
            again = caller.refused()
            rest = [seat for seat in caller.seats.values() if not seat.landed.done()]
            if again or not rest:
                return again
            if any(seat.flight.deadline > caller.deadline for seat in rest):
                break
        raise Late

    def _leave(self, caller: _Caller[K, V]) -> None:
        for seat in caller.seats.values():
            del seat.waiting[caller]
        for flight in {seat.flight for seat in caller.seats.values()}:
            if flight.open and not flight.has_waiting():
                self._metrics.flights.labels("abandoned").inc(len(flight.open))
                self._abandon(flight, Late())

    def _abandon(self, flight: Flight[K, V], error: Exception) -> None:
        task = self._tasks[flight]
        keys = flight.abandon(error)
        self._ending.update(dict.fromkeys(keys, task))
        task.add_done_callback(lambda _: self._ended(keys, task))
        task.cancel()

    def _ended(self, keys: Iterable[K], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._ending.get(key) is task:
                del self._ending[key]
