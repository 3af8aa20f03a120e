"""The deadline of a request, as an absolute time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field, replace

from protocol.fast_dataclass import fast_dataclass

GRACE_S = 0.25
"""Seconds that a client waits beyond the deadline of the service it calls.

The service stops at the deadline and then sends what it has, which takes some time to arrive.
"""


@fast_dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline on a monotonic clock, made once, when the request arrives."""

    at: float
    """On ``clock``, seconds."""
    timeout_s: float
    """From the request's arrival to ``at``; what error messages name."""
    clock: Callable[[], float] = field(default=time.monotonic, compare=False, repr=False)

    @classmethod
    def after(cls, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline of a request that arrives now and may take ``timeout_s`` seconds."""
        return cls(clock() + timeout_s, timeout_s, clock)

    @classmethod
    def of_request(
        cls,
        deadline_ms: int | None,
        *,
        default_ms: int,
        max_ms: int,
        received_at: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Deadline:
        """The deadline of a request.

        Args:
            deadline_ms: what the caller asks for, milliseconds from arrival; None takes ``default_ms``.
            default_ms: for requests that name none, milliseconds.
            max_ms: the longest that a request may ask for, milliseconds; longer ones are shortened to it.
            received_at: when the request's headers arrived, on ``clock``, seconds; None for now.
            clock: monotonic, seconds.
        """
        timeout_s = min(deadline_ms or default_ms, max_ms) / 1000
        return cls((clock() if received_at is None else received_at) + timeout_s, timeout_s, clock)

    @property
    def has_passed(self) -> bool:
        """Whether the deadline is over."""
        return self.remaining_s() <= 0

    def remaining_s(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.at - self.clock()

    def elapsed_s(self) -> float:
        """Seconds since the request's arrival."""
        return self.timeout_s - self.remaining_s()

    def remaining_ms(self) -> int:
        """Whole milliseconds until the deadline, rounded down; what travels on the wire as ``deadline_ms``."""
        return int(self.remaining_s() * 1000)

    def wait_s(self) -> float:
        """Seconds for which a caller waits for a service that has this deadline too: the rest and :data:`GRACE_S`."""
        return self.remaining_s() + GRACE_S

    def extended_to(self, at: float) -> Deadline:
        """The same request's deadline at a later moment ``at``."""
        return replace(self, at=at, timeout_s=self.timeout_s + at - self.at)
