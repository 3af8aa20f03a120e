"""A weighted fair queue in front of the predictor: a caller's thousand texts do not hold up another caller's one.

Start-time fair queueing: work that waits gets the tag ``max(virtual time, its caller's last tag) + cost / weight``,
and the lowest tag is served next. A caller that was idle starts at the virtual time, so that idling earns nothing.

Some slots are kept for callers that have none, so that one who comes while others flood the service starts at once.
What a caller has in flight beyond its share is marked as bulk: the predictor, whose own queue comes after this, lets
other work pass it (:mod:`protocol.priority`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from protocol.fast_dataclass import fast_dataclass
from serving.stages import Stage

KEPT_SHARE = 4
"""One slot of so many is kept for callers without any."""
URGENT_SHARE = 8
"""Of so many slots a caller's one is urgent, however few callers there are: others may come before it is served."""


@fast_dataclass(frozen=True, slots=True)
class Work:
    """What asks for slots."""

    caller: str
    """Whose work it is."""
    weight: int
    """The caller's share."""
    cost: int
    """In any unit that is the same for all."""
    slots: int = 1
    """Slots that it takes together, one for each text."""


@dataclass(order=True, slots=True)
class _Waiter:
    """Work that waits."""

    start: float
    number: int
    work: Work = field(compare=False)
    future: asyncio.Future[None] = field(compare=False)
    is_within_share: bool = field(default=True, compare=False)
    """Known once it has its slots."""
    passed_by: int = field(default=0, compare=False)
    """Slots that were handed to others while it was the first."""


class FairQueue:
    """Hands out a bounded number of slots; the work of callers waits for them, ordered by their shares."""

    def __init__(self, slots: int) -> None:
        """Make a queue.

        Args:
            slots: at once; 0 for no limit.
        """
        self._slots = slots
        self._kept = slots // KEPT_SHARE
        self._virtual_time = 0.0
        self._last: dict[str, float] = {}
        self._held: Counter[str] = Counter()
        """Slots of each caller that has some."""
        self._weights: dict[str, int] = {}
        """Of the callers that hold slots."""
        self._waiting: dict[str, deque[_Waiter]] = {}
        """By caller, in the order of their tags."""
        self._order = itertools.count()

    @property
    def waiting(self) -> int:
        """Units of work that wait."""
        return sum(not each.future.done() for queue in self._waiting.values() for each in queue)

    @asynccontextmanager
    async def slot(self, work: Work) -> AsyncIterator[bool]:
        """Hold the slots of some work while the block runs; waits for them.

        Work that takes more slots than there are is let through alone.

        Returns:
            Whether the work is within its caller's share; other work is bulk.
        """
        if self._slots == 0:
            yield True
            return
        is_within_share = await self._acquire(work)
        try:
            yield is_within_share
        finally:
            self._release(work)

    def _share(self, caller: str) -> int:
        """The slots of a caller that are urgent; a large group never is."""
        by_weight = self._slots * self._weights[caller] // sum(self._weights.values())
        return max(1, min(by_weight, self._slots // URGENT_SHARE))

    async def _acquire(self, work: Work) -> bool:
        start = max(self._virtual_time, self._last.get(work.caller, 0.0))
        self._last[work.caller] = start + work.cost / work.weight
        waiter = _Waiter(start, next(self._order), work, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(work.caller, deque()).append(waiter)
        self._serve()
        try:
            if not waiter.future.done():
                with Stage("queue"):
                    await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self._release(work)  # it was handed its slots at the same moment
            else:
                self._serve()  # others may have waited behind it
            raise
        return waiter.is_within_share

    def _release(self, work: Work) -> None:
        self._held[work.caller] -= work.slots
        if not self._held[work.caller]:
            del self._held[work.caller], self._weights[work.caller]
        self._serve()
        if not self._held:
            self._last.clear()  # nobody is behind anybody
            self._virtual_time = 0.0

    def _serve(self) -> None:
        """Hand out the slots that are free."""
        while (waiter := self._next()) is not None:
            work = waiter.work
            self._virtual_time = max(self._virtual_time, waiter.start)
            self._held[work.caller] += work.slots
            self._weights[work.caller] = work.weight
            waiter.is_within_share = self._held[work.caller] <= self._share(work.caller)
            waiter.future.set_result(None)

    def _next(self) -> _Waiter | None:
        """The waiter that may have its slots now, taken from its queue: the first, or one whose caller has none.

        The first is passed while it waits for more slots than are free, but only by so much work as there are slots.
        """
        heads = sorted(self._heads())
        if not heads:
            return None
        found = first = heads[0]
        if not self._fits(first.work):
            if first.passed_by >= self._slots:
                return None
            others = (each for each in heads if not self._held[each.work.caller] and self._fits(each.work))
            passing = next(others, None)
            if passing is None:
                return None
            found = passing
            first.passed_by += found.work.slots
        self._waiting[found.work.caller].popleft()
        return found

    def _heads(self) -> list[_Waiter]:
        """The next of each caller."""
        heads = []
        for caller, queue in list(self._waiting.items()):
            while queue and queue[0].future.done():
                queue.popleft()  # it was cancelled
            if queue:
                heads.append(queue[0])
            else:
                del self._waiting[caller]
        return heads

    def _fits(self, work: Work) -> bool:
        held = self._held.total()
        limit = self._slots - self._kept if self._held[work.caller] else self._slots
        return not held or held + work.slots <= limit
