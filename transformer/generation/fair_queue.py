"""A weighted fair queue in front of the predictor: a caller's thousand texts do not hold up another caller's one.

Start-time fair queueing: a unit of work that waits gets the tag ``max(virtual time, its caller's last tag) +
cost / weight``, and the lowest tag is served next. A caller that has been idle starts at the virtual time, so that
idling earns nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.stages import Stage


class FairQueue:
    """Lets a bounded number of units of work through at once; the others wait, ordered by their callers' shares."""

    def __init__(self, slots: int) -> None:
        """Make a queue.

        Args:
            slots: units of work at once; 0 for no limit.
        """
        self._slots = slots
        self._taken = 0
        self._virtual_time = 0.0
        self._last: dict[str, float] = {}
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @property
    def waiting(self) -> int:
        """Units of work that wait."""
        return sum(not future.done() for _, _, future in self._waiting)

    @asynccontextmanager
    async def slot(self, caller: str, weight: int, cost: int) -> AsyncIterator[None]:
        """Hold a slot while the block runs; waits for it.

        Args:
            caller: whose work it is.
            weight: the caller's share.
            cost: of the work, in any unit that is the same for all.
        """
        if self._slots == 0:
            yield
            return
        await self._acquire(caller, cost / weight)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, caller: str, length: float) -> None:
        start = max(self._virtual_time, self._last.get(caller, 0.0))
        self._last[caller] = start + length
        if self._taken < self._slots:
            self._taken += 1
            self._virtual_time = max(self._virtual_time, start)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (start, next(self._order), future))
        try:
            with Stage("queue"):
                await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release()  # it was handed the slot at the same moment
            raise

    def _release(self) -> None:
        while self._waiting:
            start, _, future = heapq.heappop(self._waiting)
            if not future.done():
                self._virtual_time = max(self._virtual_time, start)
                future.set_result(None)
                return
        self._taken -= 1
        if self._taken == 0:
            self._last.clear()  # nobody is behind anybody
            self._virtual_time = 0.0
