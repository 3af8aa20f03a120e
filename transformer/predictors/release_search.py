"""Finds the address of a predictor of this transformer's release when the main address serves another one.

KServe splits a canary's traffic for each component and each request, so a transformer of one release reaches
predictors of both. A predictor of another release refuses with 409. Knative gives each revision that a rollout
names an address of its own, by a tag before the host: ``prev-`` for the one before, and ``latest-`` where the
InferenceService has the annotation ``serving.kserve.io/enable-tag-routing: "true"``. Those are asked, one search at
a time for all who need one, and the answer is remembered for a while: promotions move tags.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from transformer.config import TransformerConfig, base_url
from transformer.metrics import TransformerMetrics

TAGS = ("latest", "prev")
"""As KServe names them; its own choice, not configurable there."""

NEGATIVE_TTL_S = 1.0
"""Seconds for which a failed search is cached."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a predictor listens."""

    name: str
    """For metrics: ``main``, ``latest``, ``prev``, or ``tagged1`` and so on."""
    url: str


def main_address(config: TransformerConfig) -> Address:
    """The default address of requests."""
    return Address("main", config.predictor_base_url)


def tagged_addresses(config: TransformerConfig) -> tuple[Address, ...]:
    """Other candidate addresses: ``YIWEN_PREDICTOR_TAGGED_URLS``, or else the predictor's host with tag prefixes."""
    if config.predictor_tagged_urls:
        urls = enumerate(config.predictor_tagged_urls, start=1)
        return tuple(Address(f"tagged{number}", base_url(url)) for number, url in urls)
    parts = urlsplit(config.predictor_base_url)
    if _is_ip_address(parts.hostname or ""):
        return ()
    return tuple(
        Address(tag, urlunsplit(parts._replace(netloc=f"{tag}-{parts.netloc.rpartition('@')[2]}")))
        for tag in TAGS
    )


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
        """The cache after a search found ``address``."""
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
        probes: Mapping[Address, Callable[[], Awaitable[str | None]]],
        metrics: TransformerMetrics,
        *,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with an empty cache.

        Args:
            release: id of the wanted release.
            probes: for each tagged address, returns the release served there; never raises.
            metrics: of this process.
            ttl_s: seconds for which a found address is used before the main one is tried again.
            clock: monotonic, seconds.
        """
        self._release = release
        self._probes = probes
        self._searches = metrics.predictor.searches
        self._remembered_s = ttl_s
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

    async def close(self) -> None:
        """Wait for a running search, which ends at once when the clients are closed."""
        if self._search is not None:
            await self._search

    async def _search_all(self) -> Address | None:
        """Probe all addresses in parallel; the first match wins."""
        asking = [asyncio.create_task(self._probe(address)) for address in self._probes]
        try:
            for answer in asyncio.as_completed(asking):
                address, release = await answer
                if release == self._release:
                    self._searches.labels("found").inc()
                    self._cache = self._cache.found(address, self._clock(), self._remembered_s)
                    return address
            self._searches.labels("not_found").inc()
            self._cache = self._cache.not_found(self._clock())
            return None
        finally:
            self._search = None
            for task in asking:
                task.cancel()

    async def _probe(self, address: Address) -> tuple[Address, str | None]:
        return address, await self._probes[address]()


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
