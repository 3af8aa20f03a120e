"""The share of commands that failed or were slow, over a sliding window of time."""

from __future__ import annotations

from collections import deque

BUCKETS = 10
BAD_SHARE = 0.5
"""Half of the commands: the median command is a bad one."""


class OutcomeWindow:
    """Outcomes of the last seconds, counted in :data:`BUCKETS` buckets of time."""

    def __init__(self, window_s: float, failures: int) -> None:
        """Start empty.

        Args:
            window_s: seconds that an outcome counts.
            failures: bad outcomes that it takes, at least, to judge.
        """
        self._bucket_s = window_s / BUCKETS
        self._failures = failures
        self._buckets: deque[list[int]] = deque()
        """[number of the bucket, all outcomes, bad ones], oldest first."""
        self._in_a_row = 0

    @property
    def last_was_bad(self) -> bool:
        """Whether the newest outcome was bad."""
        return self._in_a_row > 0

    def add(self, now: float, *, bad: bool) -> None:
        """Count one outcome at ``now``, seconds of any monotonic clock."""
        self._in_a_row = self._in_a_row + 1 if bad else 0
        number = int(now / self._bucket_s)
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append([number, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += bad
        while self._buckets[0][0] <= number - BUCKETS:
            self._buckets.popleft()

    def is_bad(self) -> bool:
        """Whether half of the outcomes in the window are bad, and enough of them are, in it or in a row.

        Those in a row may be older than the window: a service with one request a minute notices as well.
        """
        outcomes = sum(bucket[1] for bucket in self._buckets)
        bad = sum(bucket[2] for bucket in self._buckets)
        return max(bad, self._in_a_row) >= self._failures and bad >= BAD_SHARE * outcomes

    def clear(self) -> None:
        """Forget all outcomes."""
        self._buckets.clear()
        self._in_a_row = 0
