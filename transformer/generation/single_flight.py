"""Single flight: equal work that several callers ask for at the same time is done once.

A :class:`SharedCall` runs the work for some keys in a task of its own. The caller that starts it is its leader,
callers that join it are followers. A caller that is cancelled or late does not affect the others; the call is
cancelled when its last caller leaves. Keys of one call may be resolved one by one, and a caller may wait for keys of
several calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from protocol.deadline import Deadline
from transformer.metrics import SingleFlightMetrics

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SLACK_S = 0.05
"""A call that fails less than this before its deadline is taken to have failed because of the deadline."""


class DeadlinePassed(Exception):
    """The caller's deadline passed before the work was done."""


class LeaderError(Exception):
    """The work failed for a reason that concerns the leader's request alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class SharedResult(Generic[V]):
    """The value of one key."""

    value: V
    is_leader: bool
    """Whether this caller started the call that made it."""


@dataclass(slots=True, eq=False)
class _PendingKey(Generic[K, V]):
    """A key that has no value yet."""

    call: SharedCall[K, V]
    future: asyncio.Future[V]
    waiters: dict[object, Deadline] = field(default_factory=dict)


class SharedCall(Generic[K, V]):
    """One call; the work reports its results here. Keys without a report were not done by the deadline."""

    def __init__(self, registry: dict[K, _PendingKey[K, V]], deadline: Deadline) -> None:
        self.deadline = deadline
        """Of the work. Extended when the work is repeated for followers that have more time than the leader."""
        self.pending: dict[K, _PendingKey[K, V]] = {}
        """This call's keys without a value."""
        self._registry = registry
        """The pending keys of all calls: those that a new caller can join."""

    def resolve(self, key: K, value: V) -> None:
        """Return ``value`` to everyone that waits for ``key``."""
        pending = self._pop(key)
        if pending is not None:
            pending.future.set_result(value)

    def fail(self, keys: Iterable[K], error: Exception) -> None:
        """Raise ``error`` in everyone that waits for ``keys``.

        A failure at the deadline leaves those keys pending for which a follower has more time
        (:meth:`extend_deadline`).
        """
        at_deadline = self.deadline.remaining_s() <= SLACK_S
        for key in [key for key in keys if key in self.pending]:
            if not (at_deadline and self._latest(key) > self.deadline.at):
                self._reject(key, error)

    def fail_leader(self, keys: Iterable[K], error: Exception) -> None:
        """Raise ``error`` in the leader; followers start these keys again."""
        for key in list(keys):
            self._reject(key, LeaderError(error))

    def cancel(self, error: Exception) -> list[K]:
        """Raise ``error`` in everyone that still waits, and ignore further reports; returns the cancelled keys."""
        keys = list(self.pending)
        for key in keys:
            self._reject(key, error)
        return keys

    def has_waiters(self) -> bool:
        """Whether anyone waits for a pending key."""
        return any(pending.waiters for pending in self.pending.values())

    def extend_deadline(self) -> bool:
        """End the wait for keys for which no waiter has more time, and extend the deadline for the other keys.

        Returns:
            Whether keys are left, for which the work must be repeated.
        """
        for key in [key for key in self.pending if self._latest(key) <= self.deadline.at]:
            self._reject(key, DeadlinePassed())
        if self.pending:
            self.deadline = self.deadline.extended_to(max(map(self._latest, self.pending)))
        return bool(self.pending)

    def _latest(self, key: K) -> float:
        """The latest deadline of those that wait for ``key``, on the deadlines' clock, seconds."""
        waiters = self.pending[key].waiters.values()
        return max((deadline.at for deadline in waiters), default=float("-inf"))

    def _reject(self, key: K, error: Exception) -> None:
        pending = self._pop(key)
        if pending is not None:
            pending.future.set_exception(error)
            pending.future.exception()  # mark it as read: asyncio warns of exceptions that nobody reads

    def _pop(self, key: K) -> _PendingKey[K, V] | None:
        pending = self.pending.pop(key, None)
        if pending is not None:
            del self._registry[key]
        return pending


Tolerates = Callable[[Exception], bool]
Work = Callable[[Sequence[K], SharedCall[K, V]], Awaitable[None]]
"""Generates values for the keys until the call's deadline, and reports each to the call."""


@dataclass(slots=True, eq=False)
class Waiter(Generic[K, V]):
    """One caller of :meth:`SingleFlight.run`."""

    deadline: Deadline
    work: Work[K, V]
    tolerates: Tolerates | None = None
    """Whether an error of one key leaves the others alone; None for no error."""
    keys: dict[K, _PendingKey[K, V]] = field(default_factory=dict)
    led: set[K] = field(default_factory=set)
    """Keys of the calls that this caller started."""

    def keys_to_retry(self) -> list[K]:
        """Keys whose call failed for its leader alone; raises the error of a key that failed otherwise."""
        retry: list[K] = []
        for key, pending in self.keys.items():
            error = pending.future.exception() if pending.future.done() else None
            if isinstance(error, LeaderError) and key not in self.led:
                retry.append(key)
            elif isinstance(error, Exception):
                self.check(error.error if isinstance(error, LeaderError) else error)
        return retry

    def check(self, error: Exception) -> None:
        """Raise ``error`` unless it leaves the other keys alone."""
        if self.tolerates is None or not self.tolerates(error):
            raise error

    def outcome(self, key: K) -> SharedResult[V] | Exception:
        """The value or the error of ``key``."""
        future = self.keys[key].future
        error = future.exception() if future.done() else DeadlinePassed()
        if isinstance(error, LeaderError):
            return error.error
        return error if isinstance(error, Exception) else SharedResult(future.result(), key in self.led)


class SingleFlight(Generic[K, V]):
    """The calls of one process. Belongs to one event loop."""

    def __init__(self, metrics: SingleFlightMetrics) -> None:
        self._metrics = metrics
        self._pending: dict[K, _PendingKey[K, V]] = {}
        self._tasks: dict[SharedCall[K, V], asyncio.Task[None]] = {}
        self._ending: dict[K, asyncio.Task[None]] = {}
        """Tasks of cancelled calls that have not ended yet, by key."""

    def in_progress(self, key: K) -> bool:
        """Whether there is a call for ``key`` that a caller could join now."""
        return key in self._pending

    async def run(self, keys: Sequence[K], deadline: Deadline, work: Work[K, V]) -> list[SharedResult[V]]:
        """The value of each key, in order: from a call in progress, or else from one new call of ``work``.

        Args:
            keys: distinct.
            deadline: this caller's. When the leader's deadline ends the work and followers have more time, the work
                is repeated with the latest deadline of those that still wait.
            work: done once for all keys that are not in progress.

        Raises:
            DeadlinePassed: the deadline passed before all keys had a value.
            Exception: what the work failed with; the same for all that wait.
        """
        results = await self.run_each(keys, deadline, work)
        return [result for result in results if not isinstance(result, Exception)]

    async def run_each(
        self,
        keys: Sequence[K],
        deadline: Deadline,
        work: Work[K, V],
        tolerates: Tolerates | None = None,
    ) -> list[SharedResult[V] | Exception]:
        """As :meth:`run`, but a tolerated error is returned in the place of its key's value.

        Args:
            keys: of the values; of equal ones, in any request, the work runs once.
            deadline: of this request.
            work: generates the values of the keys that no other request is generating.
            tolerates: whether an error of one key is returned; None raises every error.

        Returns:
            A result or error for each of ``keys``.

        Raises:
            DeadlinePassed: the deadline passed before all keys had a value.
            Exception: an error of the work that is not tolerated.
        """
        waiter: Waiter[K, V] = Waiter(deadline, work, tolerates)
        missing = list(keys)
        try:
            while missing:
                self._join(waiter, missing)
                missing = await self._wait(waiter)
        finally:
            self._leave(waiter)
        return [waiter.outcome(key) for key in keys]

    async def close(self, error: Exception) -> None:
        """Cancel all calls; callers that still wait get ``error``."""
        for call in list(self._tasks):
            self._cancel(call, error)
        await asyncio.gather(*self._ending.values(), return_exceptions=True)

    def _join(self, waiter: Waiter[K, V], keys: Sequence[K]) -> None:
        """Make ``waiter`` the leader of keys that are not in progress, and a follower of the others."""
        new = [key for key in keys if key not in self._pending]
        self._metrics.roles["follower",].inc(len(keys) - len(new))
        if new:
            self._start(new, waiter)
        waiter.led.update(new)
        for key in keys:
            waiter.keys[key] = self._pending[key]
            waiter.keys[key].waiters[waiter] = waiter.deadline

    def _start(self, keys: Sequence[K], leader: Waiter[K, V]) -> None:
        call = SharedCall(self._pending, leader.deadline)
        loop = asyncio.get_running_loop()
        for key in keys:
            call.pending[key] = self._pending[key] = _PendingKey(call, loop.create_future())
        ending = {self._ending[key] for key in keys if key in self._ending}
        task = asyncio.create_task(self._run_call(call, leader.work, ending))
        self._tasks[call] = task
        task.add_done_callback(lambda _: self._tasks.pop(call))

    async def _run_call(
        self, call: SharedCall[K, V], work: Work[K, V], ending: Iterable[asyncio.Task[None]]
    ) -> None:
        """Do the work once ``ending`` have ended, and repeat it for followers that have more time."""
        try:
            if ending:
                await asyncio.wait(ending)
            await self._run_work(call, work)
            while call.extend_deadline():
                self._metrics.events.labels("repeated").inc(len(call.pending))
                await self._run_work(call, work)
        finally:
            call.cancel(DeadlinePassed())

    async def _run_work(self, call: SharedCall[K, V], work: Work[K, V]) -> None:
        try:
            await work(list(call.pending), call)
        except Exception as error:  # noqa: BLE001  raised in those that wait
            call.fail(call.pending, error)

    async def _wait(self, waiter: Waiter[K, V]) -> list[K]:
        """Wait until all keys have values; returns the keys to start again.

        A call with the waiter's deadline ends at it by itself, and is waited for a little longer
        (:data:`protocol.deadline.GRACE_S`) to hand over what it has.
        """
        for timeout_s in (waiter.deadline.remaining_s, waiter.deadline.wait_s):
            retry = await self._settle(waiter, timeout_s)
            rest = [each for each in waiter.keys.values() if not each.future.done()]
            if retry or not rest:
                return retry
            if any(each.call.deadline.at > waiter.deadline.at for each in rest):
                break
        waiter.check(DeadlinePassed())
        return []

    async def _settle(self, waiter: Waiter[K, V], timeout_s: Callable[[], float]) -> list[K]:
        """Wait for the time given until no key is pending, or some must be started again, which are returned."""
        while True:
            pending = {each.future for each in waiter.keys.values() if not each.future.done()}
            done: set[asyncio.Future[V]] = set()
            if pending:
                done, _ = await asyncio.wait(
                    pending, timeout=max(0.0, timeout_s()), return_when=asyncio.FIRST_EXCEPTION
                )
            retry = waiter.keys_to_retry()
            if retry or not done:
                return retry

    def _leave(self, waiter: Waiter[K, V]) -> None:
        for pending in waiter.keys.values():
            del pending.waiters[waiter]
        for call in {pending.call for pending in waiter.keys.values()}:
            if call.pending and not call.has_waiters():
                self._metrics.events.labels("abandoned").inc(len(call.pending))
                self._cancel(call, DeadlinePassed())

    def _cancel(self, call: SharedCall[K, V], error: Exception) -> None:
        task = self._tasks[call]
        keys = call.cancel(error)
        self._ending.update(dict.fromkeys(keys, task))
        task.add_done_callback(lambda _: self._forget(keys, task))
        task.cancel()

    def _forget(self, keys: Iterable[K], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._ending.get(key) is task:
                del self._ending[key]
