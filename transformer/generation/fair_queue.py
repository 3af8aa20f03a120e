"""A weighted fair queue in front of the predictor: a caller's thousand texts do not hold up another caller's one.

Start-time fair queueing: a unit of work that waits gets the tag ``max(virtual time, its caller's last tag) +
cost / weight``, and the lowest tag is served next. A caller that has been idle starts at the virtual time, so that
idling earns nothing.

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

_Future = asyncio.Future[None]

KEPT_SHARE = 4
"""One slot of so many is kept for callers without any."""
URGENT_SHARE = 4
"""Of so many slots a caller's one is urgent, however few callers there are: others may come before it is served."""


@dataclass(order=True, slots=True)
class _Waiter:
    """One unit of work that waits."""

    start: float
    number: int
    caller: str = field(compare=False)
    weight: int = field(compare=False)
    future: _Future = field(compare=False)
    is_within_share: bool = field(default=True, compare=False)
    """Known once it has its slot."""


class FairQueue:
    """Lets a bounded number of units of work through at once; the others wait, ordered by their callers' shares."""

    def __init__(self, slots: int) -> None:
        """Make a queue.

        Args:
            slots: units of work at once; 0 for no limit.
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
    async def slot(self, caller: str, weight: int, cost: int) -> AsyncIterator[bool]:
        """Hold a slot while the block runs; waits for it.

        Args:
            caller: whose work it is.
            weight: the caller's share.
            cost: of the work, in any unit that is the same for all.

        Returns:
            Whether the work is within the caller's share; other work is bulk.
        """
        if self._slots == 0:
            yield True
            return
        is_within_share = await self._acquire(caller, weight, cost / weight)
        try:
            yield is_within_share
        finally:
            self._release(caller)

    def _share(self, caller: str) -> int:
        """The slots of a caller that are urgent; at least one."""
        total = sum(self._weights.values())
        by_weight = self._slots * self._weights[caller] // total
        return max(1, min(by_weight, self._slots // URGENT_SHARE))

    async def _acquire(self, caller: str, weight: int, length: float) -> bool:
        start = max(self._virtual_time, self._last.get(caller, 0.0))
        self._last[caller] = start + length
        waiter = _Waiter(start, next(self._order), caller, weight, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(caller, deque()).append(waiter)
        self._serve()
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self._release(caller)  # it was handed the slot at the same moment
            raise
        return waiter.is_within_share

    def _release(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller], self._weights[caller]
        self._serve()
        if not self._held:
            self._last.clear()  # nobody is behind anybody
            self._virtual_time = 0.0

    def _serve(self) -> None:
        """Hand out the slots that are free."""
        while (waiter := self._next()) is not None:
            self._virtual_time = max(self._virtual_time, waiter.start)
            self._held[waiter.caller] += 1
            self._weights[waiter.caller] = waiter.weight
            waiter.is_within_share = self._held[waiter.caller] <= self._share(waiter.caller)
            waiter.future.set_result(None)

    def _next(self) -> _Waiter | None:
        """The waiter with the lowest tag that may have a slot now, taken from its queue."""
        free = self._slots - self._held.total()
        if free <= 0:
            return None
        heads = []
        for caller, queue in list(self._waiting.items()):
            while queue and queue[0].future.done():
                queue.popleft()  # it was cancelled
            if not queue:
                del self._waiting[caller]
            elif free > self._kept or not self._held[caller]:
                heads.append(queue[0])
        if not heads:
            return None
        first = min(heads)
        self._waiting[first.caller].popleft()
        return first
