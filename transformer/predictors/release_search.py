"""Finds the address of a predictor of this transformer's release when the main address serves another one.

KServe splits a canary's traffic for each component and each request, so a transformer of one release reaches
predictors of both. A predictor of another release refuses with 409. Then the other addresses of
:mod:`transformer.predictors.discovery` are asked, one search at a time for all who need one, and the answer is
remembered for a while: promotions move tags.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from transformer.metrics import TransformerMetrics
from transformer.predictors.discovery import Address

ReleaseProbe = Callable[[], Awaitable[str | None]]
"""Returns the id of the release that is served at an address, None for no answer; never raises."""

PREFERRED_PROBE_S = 0.5
"""Seconds that the preferred address gets to answer after another one that serves the release has."""

NEGATIVE_TTL_S = 1.0
"""Seconds for which a failed search is cached."""


@dataclass(frozen=True, slots=True)
class RouteCache:
    """Immutable cache of the search result; updates return a new one. Times are seconds on a monotonic clock."""

    address: Address | None = None
    until: float = 0.0
    negative_until: float = float("-inf")
    """No search is made before this time."""

    def at(self, now: float) -> Address | None:
        """The cached address; None if there is none or it has expired."""
        return self.address if now < self.until else None

    def found(self, address: Address, now: float, ttl_s: float) -> RouteCache:
        """The cache after a search.

        Args:
            address: that the search found.
            now: seconds of the clock.
            ttl_s: seconds that the address is used.
        """
        return RouteCache(address, now + ttl_s)

    def not_found(self, now: float) -> RouteCache:
        """The cache after a search without result."""
        return RouteCache(negative_until=now + NEGATIVE_TTL_S)

    def invalidated(self, address: Address) -> RouteCache:
        """The cache without ``address``, which failed or serves another release."""
        return RouteCache(negative_until=self.negative_until) if self.address == address else self


class ReleaseSearch:
    """Finds and caches the address that serves one release. Belongs to one event loop."""

    def __init__(
        self,
        release: str,
        probes: Mapping[Address, ReleaseProbe],
        metrics: TransformerMetrics,
        *,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with an empty cache.

        Args:
            release: id of the wanted release.
            probes: of each address but the main one.
            metrics: of this process.
            ttl_s: seconds for which a found address is used before the main one is tried again.
            clock: monotonic, seconds.
        """
        self.other_release: str | None = None
        """Of a ready predictor, where :meth:`find_ready` found none of this release at last."""
        self._release = release
        self._probes = probes
        self._searches = metrics.predictor.searches
        self._ttl_s = ttl_s
        self._clock = clock
        self._cache = RouteCache()
        self._search: asyncio.Task[Address | None] | None = None

    def current(self) -> Address | None:
        """The cached address; None means the main one."""
        return self._cache.at(self._clock())

    def invalidate(self, address: Address) -> None:
        """Remove ``address`` from the cache."""
        self._cache = self._cache.invalidated(address)

    async def find(self, refused_by: Address) -> Address | None:
        """Another address than ``refused_by`` that serves the release; None if there is none now.

        Cancelling a caller does not cancel the search: others may wait for it, and its result is cached.
        """
        known = self.current()
        if known is not None and known != refused_by:
            return known  # another request found it meanwhile
        self.invalidate(refused_by)
        if self._search is None:
            if self._clock() < self._cache.negative_until:
                return None
            self._search = asyncio.create_task(self._search_all())
        return await asyncio.shield(self._search)

    async def find_ready(self, main: Address, probes: Mapping[Address, ReleaseProbe]) -> bool:
        """Whether a predictor of the release is ready at any address now; requests then go there.

        Where the main address is one of several, it is taken: behind it are all predictors, and what queues requests
        while one starts.

        Args:
            main: the address of requests while no other one is cached.
            probes: of all addresses; they return the release of a *ready* predictor only.
        """
        seen: set[str | None] = set()
        noting = {address: partial(_noted, probe, seen) for address, probe in probes.items()}
        found = await self._first_match(noting, preferred=main)
        self.other_release = next(iter(seen - {None}), None) if found is None else None
        if found is not None and found != main:
            self._cache = self._cache.found(found, self._clock(), self._ttl_s)
        return found is not None

    async def close(self) -> None:
        """Wait for a running search, which ends at once when the clients are closed."""
        if self._search is not None:
            await self._search

    async def _search_all(self) -> Address | None:
        try:
            found = await self._first_match(self._probes)
            if found is None:
                self._searches.labels("not_found").inc()
                self._cache = self._cache.not_found(self._clock())
            else:
                self._searches.labels("found").inc()
                self._cache = self._cache.found(found, self._clock(), self._ttl_s)
            return found
        finally:
            self._search = None

    async def _first_match(
        self, probes: Mapping[Address, ReleaseProbe], preferred: Address | None = None
    ) -> Address | None:
        """Probe all addresses in parallel; the first that serves the release wins.

        Args:
            probes: by address.
            preferred: wins if it answers within ``PREFERRED_PROBE_S`` after the first.
        """
        asking = {asyncio.ensure_future(probe()): address for address, probe in probes.items()}
        pending, found = set(asking), None
        try:
            while pending:
                limit_s = None if found is None else PREFERRED_PROBE_S
                done, pending = await asyncio.wait(
                    pending, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
                )
                matching = [asking[task] for task in done if task.result() == self._release]
                if preferred in matching:
                    return preferred
                found = found or next(iter(matching), None)
                waits_for_preferred = bool(done) and any(asking[task] == preferred for task in pending)
                if found is not None and not waits_for_preferred:
                    return found
            return None
        finally:
            for task in asking:
                task.cancel()


async def _noted(probe: ReleaseProbe, seen: set[str | None]) -> str | None:
    """The answer of a probe, which is added to ``seen``."""
    release = await probe()
    seen.add(release)
    return release
