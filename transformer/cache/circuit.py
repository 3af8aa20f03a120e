"""A circuit breaker as an immutable state machine; time and jitter are arguments.

A circuit is *closed* while calls are allowed, *open* while none is, and *half-open* while a single probe is under
way. Who calls, and what a probe is, decides :mod:`transformer.cache.redis_cache`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class CircuitState(Enum):
    """The values are what the metric shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """The thresholds and delays of a circuit breaker."""

    failures: int
    """Commands that failed or were slow before it opens, at least 1."""
    probe_s: float
    """Longest wait before the first probe, seconds."""
    probe_max_s: float
    """Bound of the wait, which doubles with every probe that fails, seconds."""
    window_s: float = 1.0
    """It opens if half of the commands of this many seconds failed or were slow."""
    slow_s: float = 0.05
    """An answer that takes longer is slow, seconds."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """Immutable state of a circuit breaker; events return a new one."""

    policy: CircuitPolicy
    state: CircuitState = CircuitState.CLOSED
    attempt: int = 0
    """Number of doublings of the wait."""
    probe_at: float = 0.0
    """When the next probe is due, while open."""
    closed_at: float = float("-inf")
    """When it last closed."""

    @property
    def allows(self) -> bool:
        """Whether calls may be made."""
        return self.state is CircuitState.CLOSED

    def opens(self, now: float, jitter: float) -> Circuit:
        """Too many calls failed. Late failures of calls made before it opened do not lengthen the wait.

        Args:
            now: any monotonic clock, seconds.
            jitter: uniform in [0, 1), drawn for this event.
        """
        if not self.allows:
            return self
        # A server that fails soon after it recovered is flapping: continue the doubling.
        settled = now - self.closed_at >= self.policy.probe_max_s
        return self._opened(now, jitter, 0 if settled else self.attempt + 1)

    def probe_begins(self, now: float) -> Circuit:
        """Half-open if a probe is due at ``now``, else unchanged."""
        if self.state is CircuitState.OPEN and now >= self.probe_at:
            return replace(self, state=CircuitState.HALF_OPEN)
        return self

    def probe_succeeded(self, now: float) -> Circuit:
        """The probe succeeded: the circuit closes."""
        if self.state is not CircuitState.HALF_OPEN:
            return self
        return replace(self, state=CircuitState.CLOSED, closed_at=now)

    def probe_failed(self, now: float, jitter: float) -> Circuit:
        """The probe failed; the wait before the next one doubles."""
        if self.state is not CircuitState.HALF_OPEN:
            return self
        return self._opened(now, jitter, self.attempt + 1)

    def _opened(self, now: float, jitter: float, attempt: int) -> Circuit:
        longest = self.policy.probe_s
        for _ in range(attempt):
            if longest >= self.policy.probe_max_s:
                break
            longest *= 2
        longest = min(longest, self.policy.probe_max_s)
        # Between half and all of it, so that replicas do not probe at the same time.
        wait = longest * (0.5 + 0.5 * jitter)
        return replace(self, state=CircuitState.OPEN, attempt=attempt, probe_at=now + wait)
