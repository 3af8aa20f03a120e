"""A Redis store behind a circuit breaker: failures are counted, and no command is sent while the circuit is open.

While the circuit (:mod:`transformer.cache.circuit`) is open, a background task probes the store, so no request waits
for a probe. :mod:`transformer.cache.redis_cache` and :mod:`transformer.cache.leases` send the commands.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from transformer.cache.circuit import Circuit, CircuitPolicy, CircuitState
from transformer.cache.outcome_window import OutcomeWindow
from transformer.cache.redis_client import RedisStore, StoreError
from transformer.metrics import CacheTier, TierMetrics

T = TypeVar("T")

SLOW = StoreError(
    "slow", "Redis: it answers more slowly than YIWEN_REDIS_SLOW_S: check its load and the network"
)

_log = logging.getLogger("yiwen.cache")
_TIER = CacheTier.REDIS


class BreakerStore:
    """One store and its circuit, for one event loop. The probing task starts when the circuit opens."""

    def __init__(
        self,
        store: RedisStore,
        policy: CircuitPolicy,
        metrics: TierMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        store.answered = self._answered
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._circuit = Circuit(policy)
        self._outcomes = OutcomeWindow(policy.window_s, policy.failures)
        self._prober: asyncio.Task[None] | None = None
        self._probe_keys: Sequence[str] = ()
        """Keys of the last or of the failed command; in a cluster they select the node that failed."""

    @property
    def circuit(self) -> Circuit:
        """The current state of the circuit."""
        return self._circuit

    @property
    def answers(self) -> bool:
        """Whether the last command succeeded, so that another is unlikely to make the same request time out twice."""
        return self._circuit.allows and not self._outcomes.last_was_bad

    async def ask(
        self, operation: str, keys: Sequence[str], command: Callable[[RedisStore], Awaitable[T]]
    ) -> T | None:
        """Send a command; returns None if the circuit is open or the command failed.

        Args:
            operation: ``read``, ``write`` or ``lease``, for the metrics.
            keys: of the command; if it opens the circuit, probes read them.
            command: sends it. An error of one value in the answer does not count as a failure of the store: a
                server that is full, or a replica, refuses writes but can be read.
        """
        if not self._circuit.allows:
            return None
        self._probe_keys = keys
        started = self._clock()
        try:
            return await command(self._store)
        except StoreError as error:
            self.count_fault(operation, error)
            self._probe_keys = keys
            self._judge(error)
            return None
        finally:
            self._metrics.seconds[_TIER.value, operation].observe(self._clock() - started)

    def count_fault(self, operation: str, fault: StoreError) -> None:
        """Count an error of one item in a batch response."""
        self._metrics.redis_errors.labels(operation, fault.kind).inc()

    async def close(self) -> None:
        """Stop probing and close all connections."""
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)
        await self._store.close()

    def _answered(self, seconds: float) -> None:
        self._judge(SLOW if seconds > self._circuit.policy.slow_s else None)

    def _judge(self, fault: StoreError | None) -> None:
        """Take one outcome into account: the circuit opens when half of the recent ones are faults."""
        if not self._circuit.allows:
            return  # the late answer of an earlier command
        self._outcomes.add(self._clock(), bad=fault is not None)
        if fault is None or not self._outcomes.is_bad():
            return
        self._circuit = self._circuit.opens(self._clock(), self._rng())
        self._outcomes.clear()
        self._prober = asyncio.create_task(self._probe())
        _log.warning("going on without the shared cache. %s", fault)
        self._show_circuit()

    async def _probe(self) -> None:
        """Probe the store at the circuit's times until a probe succeeds."""
        while not self._circuit.allows:
            await asyncio.sleep(max(0.0, self._circuit.probe_at - self._clock()))
            self._circuit = self._circuit.probe_begins(self._clock())
            if self._circuit.state is not CircuitState.HALF_OPEN:
                continue  # the sleep ended slightly too early
            self._show_circuit()
            try:
                await self._ask_in_time()
            except StoreError as error:
                self.count_fault("probe", error)
                self._circuit = self._circuit.probe_failed(self._clock(), self._rng())
            else:
                self._circuit = self._circuit.probe_succeeded(self._clock())
                _log.info("the shared cache is back")
            self._show_circuit()

    async def _ask_in_time(self) -> None:
        """Send a probe.

        Raises:
            StoreError: it failed or was slow.
        """
        started = self._store.seconds
        await self._store.get_many(self._probe_keys)
        if self._store.seconds - started > self._circuit.policy.slow_s:
            raise SLOW

    def _show_circuit(self) -> None:
        self._metrics.redis_circuit.set(self._circuit.state.value)
