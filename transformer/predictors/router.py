"""The router: sends each request to a predictor of the right release, once it is ready.

:mod:`transformer.predictors.client` speaks to one address. What lies around it is decided here: whether the predictor
is ready (:mod:`transformer.predictors.readiness`), and which address serves this transformer's release
(:mod:`transformer.predictors.release_search`). Only cache misses reach the router, and only those that were admitted
(:mod:`transformer.predictors.admission`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from protocol.errors import NotFound, NotReady, ReleaseMismatch, YiwenError
from protocol.messages import GenerateRequest, GenerateResponse, TokenDelta
from serving.stages import Stage
from transformer.config import TransformerConfig
from transformer.errors import (
    CONNECTION_LOST,
    ColdStartTimeout,
    ConnectionLost,
    ConnectionsBusy,
    GatewayError,
    NoConnection,
    PredictorTooLate,
    PredictorUnreachable,
    ReleaseNotServed,
)
from transformer.metrics import TransformerMetrics
from transformer.predictors.admission import AdmissionController
from transformer.predictors.client import PredictorClient, deadline_of
from transformer.predictors.discovery import main_address, other_addresses
from transformer.predictors.http_responses import RETRY_AFTER_S
from transformer.predictors.readiness import ColdStartStatus, ReadinessGate, poll_intervals_s
from transformer.predictors.release_search import ReleaseSearch
from transformer.predictors.retry_budget import RetryKind, SharedRetryBudget
from transformer.predictors.stream_prefix import StreamPrefix

_log = logging.getLogger("yiwen.predictors")

MAX_REROUTES = 4
"""Most changes of address per request: to its release, back to the main address when a tag moved, and once more."""

MAX_RESENDS = 3
"""Most times that a request is sent again after the predictor may have begun it: it may be what crashes the
predictor."""


class PredictorRouter:
    """Routes requests to all predictor addresses of this transformer. Belongs to the event loop of :meth:`open`."""

    def __init__(
        self,
        config: TransformerConfig,
        model_name: str,
        release: str,
        metrics: TransformerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet.

        Args:
            config: this service's settings.
            model_name: in the predictors' URLs.
            release: id of the release whose tokenizer makes the prompts.
            metrics: of this process.
            clock: monotonic, seconds.
        """
        self.main = main_address(config)
        self.release = release
        self.retries = SharedRetryBudget(metrics, clock)
        self._cold_start_timeout_s = config.cold_start_timeout_s
        self.clock = clock
        self._found = metrics.predictor.found
        self.admission = AdmissionController(config.admission_tokens, metrics, clock)
        self._clients = {
            address: PredictorClient(
                config,
                model_name,
                metrics,
                clock,
                url=address.url,
                address=address.name,
                retries=self.retries,
            )
            for address in (self.main, *other_addresses(config))
        }
        self.search = ReleaseSearch(
            release,
            {address: client.serving for address, client in self._clients.items() if address != self.main},
            metrics,
            ttl_s=config.release_check_s,
            clock=clock,
        )
        self.readiness_gate = ReadinessGate(
            config.cold_start_waiters, self._find_ready_predictor, metrics, clock
        )

    async def open(self) -> None:
        """Make the pools; connections are opened as requests come."""
        for client in self._clients.values():
            await client.open()

    async def close(self) -> None:
        """Close all connections; what is still running on them, or waits, fails."""
        await self.readiness_gate.close()
        for client in self._clients.values():
            await client.close()
        await self.search.close()

    async def wait_for_predictor(self) -> None:
        """Wait until a predictor of this transformer's release is ready at any address; polls without end."""
        for pause_s in poll_intervals_s():
            if await self._find_ready_predictor():
                break
            await asyncio.sleep(pause_s)
        self._found.set(1)
        _log.info("a predictor of this release is ready", extra={"fields": {"release": self.release}})

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Generate a completion of each prompt of an admitted request.

        Args:
            request: ``deadline_ms`` is the time that is left.
            headers: as :func:`transformer.predictors.client.forwarded_headers` makes them.

        Raises:
            YiwenError: what the predictor answered, or what stood between; see :mod:`transformer.errors`.
        """
        routed = _RoutedRequest(self, request, timeout_s=self._cold_start_timeout_s)
        while True:
            async with aclosing(routed.wait()) as status:
                async for _ in status:
                    pass
            try:
                return await self._clients[routed.address].generate(routed.request(), headers)
            except YiwenError as error:
                await routed.recover(self._timed(error))

    async def stream(
        self, request: GenerateRequest, headers: Mapping[str, str]
    ) -> AsyncGenerator[TokenDelta | ColdStartStatus, None]:
        """Stream generated tokens; arguments and errors as in :meth:`generate`.

        While the predictor is not up, items of :class:`~transformer.predictors.readiness.ColdStartStatus`
        come about once a second. A stream whose predictor goes down in the middle is sent again, and goes on where it
        broke off. Closing the iterator closes the connection, as in
        :meth:`transformer.predictors.client.PredictorClient.stream`.
        """
        # Its caller is told that it waits, so it may wait as long as it wants to.
        routed = _RoutedRequest(self, request, timeout_s=float("inf") if self._cold_start_timeout_s else 0.0)
        prefix = StreamPrefix(len(request.prompts))
        while True:
            async with aclosing(routed.wait()) as waiting:
                async for status in waiting:
                    yield status
            prefix.restart()
            try:
                async with aclosing(
                    self._clients[routed.address].stream(routed.request(), headers)
                ) as deltas:
                    async for delta in deltas:
                        remainder = _remainder(prefix, delta)
                        if remainder is not None:
                            yield remainder
                return
            except YiwenError as error:
                await routed.recover(self._timed(error))

    async def _find_ready_predictor(self) -> bool:
        probes = {address: client.ready_release for address, client in self._clients.items()}
        return await self.search.find_ready(self.main, probes)

    def _timed(self, error: YiwenError) -> YiwenError:
        """``error``, with the time until there is room where it is for lack of connections here."""
        if isinstance(error, ConnectionsBusy):
            error.retry_after_s = self.admission.retry_after_s()
        return error


class _RoutedRequest:
    """The routing state of one request: its address, its waits and its reroutes."""

    def __init__(self, router: PredictorRouter, request: GenerateRequest, *, timeout_s: float) -> None:
        self.address = router.search.current() or router.main
        self._router = router
        self._request = request
        self._started = router.clock()
        self._deadline = deadline_of(request, router.clock)
        self._cold_start_timeout_s = timeout_s
        self._waiting_since: float | None = None
        self._reroutes = 0
        self._resends = 0
        self._sent = False
        self._answered_503: tuple[YiwenError, int] | None = None
        """The last answer if it was a 503, and the number of failed readiness polls at that time."""
        self._mismatch: ReleaseMismatch | None = None
        """The last answer, if it was a 409 and no predictor of the release was found."""

    async def wait(self) -> AsyncGenerator[ColdStartStatus, None]:
        """Wait until the request may be sent; yields a status about once a second.

        Raises:
            YiwenError: the predictor was not ready in time, or the retry budget is used up.
        """
        gate = self._router.readiness_gate
        if gate.is_blocking and self._cold_start_timeout_s and self.address == self._router.main:
            if self._waiting_since is None:
                self._waiting_since = self._router.clock()
            until = self._waiting_since + self._cold_start_timeout_s
            if self._deadline is not None:
                until = min(until, self._deadline.at)
            try:
                with Stage("wait_for_predictor"):
                    async with aclosing(gate.wait(self._waiting_since, until)) as items:
                        async for status in items:
                            yield status
            except ColdStartTimeout as timeout:
                # A request that came later than the refusal has met the closed gate alone.
                serving = self._mismatch.serving if self._mismatch else self._router.search.other_release
                if serving is None:
                    raise
                raise self._not_served(serving, timeout.retry_after_s) from timeout
            self.address = self._router.search.current() or self._router.main
            self._mismatch = None
        if self._answered_503 is not None:
            error, failed_polls = self._answered_503
            # A predictor that was not ready did no work; one that reports ready may be overloaded.
            if gate.failed_polls == failed_polls and not await self._may_retry(error):
                raise error
            self._answered_503 = None

    async def _may_retry(self, error: YiwenError) -> bool:
        """Whether the budget has a retry; one of several predictors that went down leaves many requests at once."""
        if not _may_have_begun(error):
            return self._router.retries.allow(RetryKind.COLD_START)
        since = self._router.clock() if self._waiting_since is None else self._waiting_since
        return await self._router.retries.wait(RetryKind.COLD_START, self._end_of_wait(since))

    def _end_of_wait(self, since: float) -> float:
        """When a wait that began at ``since`` ends: by the time allowed for a cold start, or by the deadline."""
        until = since + self._cold_start_timeout_s
        return until if self._deadline is None else min(until, self._deadline.at)

    def request(self) -> GenerateRequest:
        """The request to send now, with the remaining time as its ``deadline_ms``.

        Raises:
            PredictorTooLate: less than 1 ms remains.
        """
        if not self._sent:
            self._sent = True
            self._router.retries.sent()
        if self._deadline is None:
            return self._request
        remaining_ms = self._deadline.remaining_ms()
        if remaining_ms < 1:
            raise PredictorTooLate(self._router.clock() - self._started)
        return replace(self._request, deadline_ms=remaining_ms)

    async def recover(self, error: YiwenError) -> None:
        """Prepare another attempt after ``error``, or raise it."""
        if isinstance(error, ReleaseMismatch):
            await self._reroute_to_release(error)
        elif _may_be_gone(error) and self.address != self._router.main and self._reroute_to_main(error):
            pass
        elif _is_unavailable(error) and self._cold_start_timeout_s:
            self._resends += _may_have_begun(error)
            if self._resends > MAX_RESENDS:
                raise error
            gate = self._router.readiness_gate
            gate.mark_unavailable()
            self.address = self._router.main
            self._answered_503 = None if isinstance(error, NoConnection) else (error, gate.failed_polls)
        else:
            raise error

    async def _reroute_to_release(self, error: ReleaseMismatch) -> None:
        """Switch to an address that serves this transformer's release."""
        self._reroutes += 1
        timeout_s = None if self._deadline is None else self._deadline.remaining_s()
        try:
            found = await asyncio.wait_for(self._router.search.find(self.address), timeout_s)
        except asyncio.TimeoutError:
            raise PredictorTooLate(self._router.clock() - self._started) from None
        if found is None and self.address != self._router.main:
            found = self._router.main  # the tag has moved: the rollout may be over
        if found is None or self._reroutes > MAX_REROUTES:
            self._wait_for_release(error)
        else:
            self.address = found

    def _wait_for_release(self, error: ReleaseMismatch) -> None:
        """Let the request wait, as for a predictor that starts: one of the release may be starting."""
        if not self._cold_start_timeout_s:
            raise self._not_served(error.serving, RETRY_AFTER_S) from error
        self._router.readiness_gate.mark_unavailable()
        self._mismatch, self._reroutes, self.address = error, 0, self._router.main

    def _not_served(self, serving: str, retry_after_s: float | None) -> ReleaseNotServed:
        return ReleaseNotServed(self._router.release, serving, retry_after_s=retry_after_s or RETRY_AFTER_S)

    def _reroute_to_main(self, error: YiwenError) -> bool:
        """Switch to the main address, since the cached one is gone; False if it may not be tried at once."""
        self._reroutes += 1
        self._router.search.invalidate(self.address)
        unseen = isinstance(error, NoConnection)
        if self._reroutes > MAX_REROUTES or not (unseen or self._router.retries.allow(RetryKind.REROUTE)):
            return False
        self.address = self._router.main
        return True


def _remainder(prefix: StreamPrefix, delta: TokenDelta) -> TokenDelta | None:
    """What the reader does not have of ``delta``.

    Raises:
        PredictorUnreachable: a stream that was sent again differs, so it cannot go on.
    """
    try:
        return prefix.remainder(delta)
    except ValueError as error:
        raise PredictorUnreachable(CONNECTION_LOST, retry_after_s=RETRY_AFTER_S) from error


def _is_unavailable(error: YiwenError) -> bool:
    """Whether the predictor accepts no requests now; an idle connection that broke does not count."""
    return isinstance(error, NoConnection | ConnectionLost) or (
        isinstance(error, NotReady) and not isinstance(error, PredictorUnreachable)
    )


def _may_have_begun(error: YiwenError) -> bool:
    """Whether a predictor that is down may have begun the request before it went down."""
    return isinstance(error, ConnectionLost) or (isinstance(error, GatewayError) and error.was_forwarded)


def _may_be_gone(error: YiwenError) -> bool:
    """Whether ``error`` may mean that the address no longer exists."""
    return _is_unavailable(error) or isinstance(error, NotFound)
