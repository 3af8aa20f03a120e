"""The way to the predictor: admitted, to the right release, once it is up. Asks like one client, is several.

:mod:`transformer.predictors.client` speaks to one address. What lies around it is decided here, in this order:
whether there is gate (:mod:`transformer.predictors.admission`), whether the predictor is up
(:mod:`transformer.predictors.readiness`), and which address serves this transformer's release
(:mod:`transformer.predictors.release_search`). Only texts that missed the cache come this far.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from protocol.errors import NotFound, NotReady, ReleaseMismatch, YiwenError
from protocol.messages import GenerateRequest, GenerateResponse, TokenDelta
from transformer.config import TransformerConfig
from transformer.errors import (
    ConnectionsBusy,
    NoConnection,
    PredictorTooLate,
    PredictorUnreachable,
    ReleaseNotServed,
)
from transformer.metrics import TransformerMetrics
from transformer.predictors.admission import AdmissionController, request_tokens
from transformer.predictors.client import PredictorClient
from transformer.predictors.http_responses import RETRY_AFTER_S
from transformer.predictors.readiness import ColdStartStatus, ReadinessGate
from transformer.predictors.release_search import Address, ReleaseSearch, main_address, tagged_addresses
from transformer.predictors.retry_budget import RetryKind, SharedRetryBudget

MAX_REROUTES = 4
"""Changes of address that one request makes: to its release, back when a tag has moved, and once more."""


class PredictorRouter:
    """All predictors that this transformer may ask. Belongs to the event loop that :meth:`open` ran on."""

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
        self._sends = metrics.predictor.sends
        self._admission = AdmissionController(config.admission_tokens, metrics, clock)
        self._clients = {
            address: PredictorClient(
                config, model_name, metrics, clock, url=address.url, retries=self.retries
            )
            for address in (self.main, *tagged_addresses(config))
        }
        self.search = ReleaseSearch(
            release,
            {address: client.serving for address, client in self._clients.items() if address != self.main},
            metrics,
            ttl_s=config.release_check_s,
            clock=clock,
        )
        self.readiness_gate = ReadinessGate(
            config.cold_start_waiters, self._clients[self.main].is_ready, metrics, clock
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

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Have prompts continued.

        Args:
            request: ``deadline_ms`` is the time that is left.
            headers: as :func:`transformer.predictors.client.forwarded_headers` makes them.

        Raises:
            YiwenError: what the predictor answered, or what stood between; see :mod:`transformer.errors`.
        """
        with self._admission.admit(request_tokens(request)):
            routed = _RoutedRequest(self, request, timeout_s=self._cold_start_timeout_s)
            while True:
                async with aclosing(routed.wait()) as status:
                    async for _ in status:
                        pass
                try:
                    return await self._client(routed.address).generate(routed.request(), headers)
                except YiwenError as error:
                    await routed.recover(self._timed(error))

    async def stream(
        self, request: GenerateRequest, headers: Mapping[str, str]
    ) -> AsyncGenerator[TokenDelta | ColdStartStatus, None]:
        """Have prompts continued, token by token; arguments and errors as in :meth:`generate`.

        While the predictor is not up, items of :class:`~transformer.predictors.readiness.ColdStartStatus`
        come about once a second, before the first delta. Closing the iterator closes the connection, as in
        :meth:`transformer.predictors.client.PredictorClient.stream`.
        """
        with self._admission.admit(request_tokens(request)):
            # Its caller is told that it waits, so it may wait as long as it wants to.
            routed = _RoutedRequest(
                self, request, timeout_s=float("inf") if self._cold_start_timeout_s else 0.0
            )
            while True:
                async with aclosing(routed.wait()) as waiting:
                    async for status in waiting:
                        yield status
                begun = False
                try:
                    async with aclosing(
                        self._client(routed.address).stream(routed.request(), headers)
                    ) as deltas:
                        async for delta in deltas:
                            begun = True
                            yield delta
                    return
                except YiwenError as error:
                    if begun:
                        raise
                    await routed.recover(self._timed(error))

    def _client(self, address: Address) -> PredictorClient:
        self._sends.labels(address.name).inc()
        return self._clients[address]

    def _timed(self, error: YiwenError) -> YiwenError:
        """``error``, with the time until there is gate where it is for lack of gate here."""
        if isinstance(error, ConnectionsBusy):
            error.retry_after_s = self._admission.retry_after_s()
        return error


class _RoutedRequest:
    """One request on its way: where it goes next, how long it has waited, what it may still try."""

    def __init__(self, router: PredictorRouter, request: GenerateRequest, *, timeout_s: float) -> None:
        self.address = router.search.current() or router.main
        self._router = router
        self._request = request
        self._started = router.clock()
        self._cold_start_timeout_s = timeout_s
        self._waiting_since: float | None = None
        self._reroutes = 0
        self._sent = False
        self._answered_503: tuple[YiwenError, int] | None = None
        """What came back last, if that is it, and how many polls had failed by then."""

    async def wait(self) -> AsyncGenerator[ColdStartStatus, None]:
        """Items about once a second while the predictor is not up; ends when the request may be sent.

        Raises:
            YiwenError: the predictor did not come up in time, or may not be sent this request once more.
        """
        gate = self._router.readiness_gate
        if gate.is_blocking and self._cold_start_timeout_s and self.address == self._router.main:
            if self._waiting_since is None:
                self._waiting_since = self._router.clock()
            until = self._waiting_since + self._cold_start_timeout_s
            left_s = self._left_s()
            if left_s is not None:
                until = min(until, self._router.clock() + left_s)
            async with aclosing(gate.wait(self._waiting_since, until)) as items:
                async for status in items:
                    yield status
        if self._answered_503 is not None:
            error, failed_polls = self._answered_503
            # One that was not up did no work on what it refused; one that says it is up may have too much to do.
            if gate.failed_polls == failed_polls and not self._router.retries.allow(RetryKind.COLD_START):
                raise error
            self._answered_503 = None

    def request(self) -> GenerateRequest:
        """The request with the time that is left, to be sent now.

        Raises:
            PredictorTooLate: none is left.
        """
        if not self._sent:
            self._sent = True
            self._router.retries.sent()
        left_s = self._left_s()
        if left_s is None:
            return self._request
        if left_s < 0.001:
            raise PredictorTooLate(self._router.clock() - self._started)
        return replace(self._request, deadline_ms=int(left_s * 1000))

    async def recover(self, error: YiwenError) -> None:
        """Find a way on after ``error``, or raise it."""
        if isinstance(error, ReleaseMismatch):
            await self._reroute_to_release(error)
        elif _may_be_gone(error) and self.address != self._router.main:
            self._reroute_to_main(error)
        elif _is_unavailable(error) and self._cold_start_timeout_s:
            gate = self._router.readiness_gate
            gate.mark_unavailable()
            self._answered_503 = None if isinstance(error, NoConnection) else (error, gate.failed_polls)
        else:
            raise error

    async def _reroute_to_release(self, error: ReleaseMismatch) -> None:
        """Go where this transformer's release is served."""
        self._reroutes += 1
        search = self._router.search.find(self.address)
        try:
            found = await asyncio.wait_for(search, self._left_s())
        except asyncio.TimeoutError:
            raise PredictorTooLate(self._router.clock() - self._started) from None
        if found is None and self.address != self._router.main:
            found = self._router.main  # the tag has moved: the rollout may be over
        if found is None or self._reroutes > MAX_REROUTES:
            raise ReleaseNotServed(
                self._router.release, error.serving, retry_after_s=RETRY_AFTER_S
            ) from error
        self.address = found

    def _reroute_to_main(self, error: YiwenError) -> None:
        """Go to the usual address: the remembered one is gone."""
        self._reroutes += 1
        self._router.search.invalidate(self.address)
        unseen = isinstance(error, NoConnection)
        if self._reroutes > MAX_REROUTES or not (unseen or self._router.retries.allow(RetryKind.REROUTE)):
            raise error
        self.address = self._router.main

    def _left_s(self) -> float | None:
        """Seconds until the request's deadline; None if it has none."""
        if self._request.deadline_ms is None:
            return None
        return self._request.deadline_ms / 1000 - (self._router.clock() - self._started)


def _is_unavailable(error: YiwenError) -> bool:
    """Whether ``error`` is that of a predictor that takes no requests now, and not of one that broke at this one."""
    return isinstance(error, NoConnection) or (
        isinstance(error, NotReady) and not isinstance(error, PredictorUnreachable)
    )


def _may_be_gone(error: YiwenError) -> bool:
    """Whether ``error`` may mean that an address leads nowhere any more."""
    return _is_unavailable(error) or isinstance(error, NotFound)
