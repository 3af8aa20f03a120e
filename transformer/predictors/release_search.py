"""Where the predictor of this transformer's own release is, when the usual address leads to another's.

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
"""Seconds after a search in vain in which no other is made."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a predictor listens."""

    name: str
    """For metrics: ``main``, ``latest``, ``prev``, or ``tagged1`` and so on."""
    url: str


def main_address(config: TransformerConfig) -> Address:
    """The address that requests take unless they have to be elsewhere."""
    return Address("main", config.predictor_base_url)


def tagged_addresses(config: TransformerConfig) -> tuple[Address, ...]:
    """Where else to look: what ``YIWEN_PREDICTOR_TAGGED_URLS`` lists, or else tags before the predictor's host."""
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
    """What is remembered at one moment; events return the next one. Times are seconds on any monotonic clock."""

    address: Address | None = None
    until: float = 0.0
    negative_until: float = float("-inf")
    """Before this no search is made."""

    def at(self, now: float) -> Address | None:
        """The address to use in place of the usual one."""
        return self.address if now < self.until else None

    def found(self, address: Address, now: float, ttl_s: float) -> RouteCache:
        """A search came to ``address``."""
        return RouteCache(address, now + ttl_s)

    def not_found(self, now: float) -> RouteCache:
        """A search came to nothing."""
        return RouteCache(negative_until=now + NEGATIVE_TTL_S)

    def invalidated(self, address: Address) -> RouteCache:
        """``address`` turned out not to be it, or not to be there any more."""
        return RouteCache(negative_until=self.negative_until) if self.address == address else self


class ReleaseSearch:
    """Finds and remembers where one release is served. Belongs to one event loop."""

    def __init__(
        self,
        release: str,
        probes: Mapping[Address, Callable[[], Awaitable[str | None]]],
        metrics: TransformerMetrics,
        *,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is remembered yet.

        Args:
            release: whose predictor is wanted.
            probes: for each tagged address, what asks for the release served there; it never raises.
            metrics: of this process.
            ttl_s: seconds that a found address is used before the usual one is tried again.
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
        """The remembered address, None for the usual one."""
        return self._cache.at(self._clock())

    def invalidate(self, address: Address) -> None:
        """Take in that ``address`` is not it, or is gone."""
        self._cache = self._cache.invalidated(address)

    async def find(self, refused_by: Address) -> Address | None:
        """Another address than ``refused_by`` that serves the release; None if there is none now.

        Leaving early does not end the search: others may wait for it, and its result is remembered.
        """
        known = self.current()
        if known is not None and known != refused_by:
            return known  # somebody else found it while this request was under way
        self.invalidate(refused_by)
        if self._search is None:
            if self._clock() < self._cache.negative_until:
                return None
            self._search = asyncio.create_task(self._search_all())
        return await asyncio.shield(self._search)

    async def close(self) -> None:
        """Wait for the end of a search that is under way; it ends at once where nothing can be asked any more."""
        if self._search is not None:
            await self._search

    async def _search_all(self) -> Address | None:
        """Ask all addresses at once and take the first that is right."""
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
