"""Callers of a canary: titles at Poisson times, some of them popular ones that caches have."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random

import aiohttp

from benchmarks.transformer_stages.setting import MODEL, infer_body, titles

HIT_SHARE = 0.35
"""Of the requests: for one of the popular titles."""
POPULAR = 200
PATIENCE_S = 30.0
IN_FLIGHT = 64
"""Requests at a time, at most: a machine that is busy otherwise is not buried in them."""


class TitleLoad:
    """Sends one title a request, whatever the answers do as long as they come, and counts the statuses."""

    def __init__(self, url: str, session: aiohttp.ClientSession, rng: Random) -> None:
        """Send nothing yet.

        Args:
            url: of the service.
            session: for all requests.
            rng: of times and titles.
        """
        self._url = f"{url}/v2/models/{MODEL}/infer"
        self._session = session
        self._rng = rng
        bodies = (infer_body([title]) for title, _ in titles())
        self._popular = list(itertools.islice(bodies, POPULAR))
        self._others: Iterator[bytes] = bodies  # never the same one: no cache has it, however long this runs
        self.statuses: Counter[str] = Counter()
        """Requests by HTTP status, or by the name of an error."""

    @asynccontextmanager
    async def running(self, per_s: float) -> AsyncIterator[None]:
        """Send so many requests per second until the end of the block; those under way are waited for."""
        sending = asyncio.create_task(self._run(per_s))
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _run(self, per_s: float) -> None:
        pending: set[asyncio.Task[None]] = set()
        next_at = time.monotonic()
        try:
            while True:
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
                if len(pending) < IN_FLIGHT:
                    task = asyncio.create_task(self._send())
                    pending.add(task)
                    task.add_done_callback(pending.discard)
                next_at += self._rng.expovariate(per_s)
        finally:
            await asyncio.gather(*pending)

    async def _send(self) -> None:
        body = self._rng.choice(self._popular) if self._rng.random() < HIT_SHARE else next(self._others)
        headers = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        try:
            async with self._session.post(self._url, data=body, headers=headers, timeout=timeout) as answer:
                await answer.read()
                status = str(answer.status)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            status = type(error).__name__
        self.statuses[status] += 1
