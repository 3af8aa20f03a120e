"""Averages and maxima over sliding windows of time.

Ported from ``pkg/autoscaler/aggregation/bucketing.go`` and ``pkg/autoscaler/aggregation/max``. Times are seconds of
any clock; buckets begin at its whole multiples of the granularity.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

MIN_EXPONENT = 0.2
"""Smallest decay of the weighted average."""
WEIGHT_PRECISION = 0.9999
"""Weights of a window sum up to at least this."""
PRECISION = 6
"""Decimals of the linear average."""


class WindowAverager(Protocol):
    """Interface of the sliding windows of a metric."""

    def record(self, now: float, value: float) -> None: ...

    def window_average(self, now: float) -> float: ...

    def is_empty(self, now: float) -> bool: ...


class TimedFloat64Buckets:
    """A ring of buckets; values of one bucket are summed, and the average weighs all buckets equally.

    Args:
        window: seconds that the ring covers.
        granularity: whole seconds that a bucket covers.
    """

    def __init__(self, window: float, granularity: int = 1) -> None:
        self.window = window
        self.granularity = granularity
        self._buckets = [0.0] * math.ceil(window / granularity)
        self._first: int | None = None
        """Index (time / granularity) of the first write in the window."""
        self._last: int | None = None
        self._total = 0.0

    def record(self, now: float, value: float) -> None:
        """Add ``value`` to the bucket of ``now``.

        Skipped buckets count as zero. A value older than the window is dropped. After a whole window without values
        the average starts over.
        """
        index = math.floor(now / self.granularity)
        if index != self._last and not self._move_to(index):
            return
        self._buckets[index % len(self._buckets)] += value
        self._total += value

    def window_average(self, now: float) -> float:
        """The average per bucket since the first write, at most over the window, rounded to 6 decimals.

        0 without values. Buckets between the last write and ``now`` are left out, not counted as zero.
        """
        if self._first is None or self._last is None:
            return 0.0
        size = len(self._buckets)
        behind = math.floor(now / self.granularity) - self._last
        written = self._last - self._first + 1
        if behind <= 0:
            return round_half_away(self._total / min(written, size), PRECISION)
        if behind * self.granularity >= self.window:
            return 0.0
        total = self._total
        for index in range(self._last + 1, self._last + behind + 1):
            total -= self._buckets[index % size]
        return round_half_away(total / min(written, size - behind), PRECISION)

    def is_empty(self, now: float) -> bool:
        """Whether nothing was written for more than the window."""
        if self._last is None:
            return True
        return (math.floor(now / self.granularity) - self._last) * self.granularity > self.window

    def _move_to(self, index: int) -> bool:
        """Advance the ring to ``index``; False if the index lies before the window."""
        if self._last is not None and (index - self._last) * self.granularity + self.window <= 0:
            return False
        if self._first is None or index < self._first:
            self._first = index
        if self._last is None or (index - self._last) * self.granularity >= self.window:
            self._buckets = [0.0] * len(self._buckets)
            self._first, self._last, self._total = index, index, 0.0
        elif index > self._last:
            for skipped in range(self._last + 1, index + 1):
                slot = skipped % len(self._buckets)
                self._total -= self._buckets[slot]
                self._buckets[slot] = 0.0
            self._last = index
        return True


class WeightedFloat64Buckets(TimedFloat64Buckets):
    """A ring of buckets whose average decays exponentially with age."""

    def __init__(self, window: float, granularity: int = 1) -> None:
        super().__init__(window, granularity)
        self.smoothing_coeff = compute_smoothing_coeff(len(self._buckets))

    def window_average(self, now: float) -> float:
        """Exponentially weighted average per bucket, not rounded; buckets since the last write count as zero."""
        if self._last is None or self.is_empty(now):
            return 0.0
        size = len(self._buckets)
        keep = 1 - self.smoothing_coeff
        zeros = max(0, math.floor(now / self.granularity) - self._last)
        multiplier = self.smoothing_coeff * math.pow(keep, zeros)
        average = 0.0
        for age in range(size - zeros):
            average += self._buckets[(self._last - age) % size] * multiplier
            multiplier *= keep
        return average


class TimeWindow:
    """The largest value recorded within the last ``duration`` seconds, in steps of ``granularity`` seconds."""

    def __init__(self, duration: float, granularity: int) -> None:
        self.granularity = granularity
        self._maxima = MaxWindow(math.ceil(duration / granularity))

    def record(self, now: float, value: int) -> None:
        """Record ``value`` at ``now``, which never goes back."""
        self._maxima.record(math.floor(now) // self.granularity, value)

    def current(self) -> int:
        """The largest value as of the last record. There must be one."""
        return self._maxima.current()


class MaxWindow:
    """The largest value among the last ``size`` indices, by a monotonic queue."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._candidates: deque[tuple[int, int]] = deque()
        """Index and value; indices rise, values fall."""

    def record(self, index: int, value: int) -> None:
        """Record ``value`` at ``index``, which never falls; the largest value of an index counts."""
        candidates = self._candidates
        while candidates and value >= candidates[-1][1]:
            candidates.pop()
        while candidates and index - candidates[0][0] >= self._size:
            candidates.popleft()
        if candidates and candidates[-1][0] == index:
            return
        candidates.append((index, value))

    def current(self) -> int:
        """The largest value as of the last record. There must be one."""
        return self._candidates[0][1]


def compute_smoothing_coeff(buckets: int) -> float:
    """Decay at which the weights of ``buckets`` buckets sum to :data:`WEIGHT_PRECISION`; at least 0.2."""
    return max(1 - math.pow(1 - WEIGHT_PRECISION, 1 / buckets), MIN_EXPONENT)


def round_half_away(value: float, digits: int) -> float:
    """Round to ``digits`` decimals, halves away from zero as Go does (Python rounds them to even)."""
    scale = 10.0**digits
    scaled = value * scale
    whole = float(math.trunc(scaled))
    if abs(scaled - whole) >= 0.5:
        whole += math.copysign(1.0, scaled)
    return whole / scale
