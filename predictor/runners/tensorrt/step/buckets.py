"""Sizes that have a CUDA graph, and the optimization profile of a size: arithmetic alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from predictor.plan import OptimizationProfile

_STRIDES = ((32, 8), (128, 16), (256, 32), (512, 64))
"""(rows, stride): the distance of buckets up to so many rows; below 8 they double. Padding is a quarter at most."""
_LAST_STRIDE = 128


def decode_buckets(limit: int) -> tuple[int, ...]:
    """Numbers of decode rows that have a CUDA graph, ascending; the last one is ``limit``."""
    buckets = [1]
    while buckets[-1] < limit:
        buckets.append(min(limit, _next(buckets[-1])))
    return tuple(buckets)


def _next(rows: int) -> int:
    if rows < 8:
        return 2 * rows
    return rows + next((stride for last, stride in _STRIDES if rows < last), _LAST_STRIDE)


def bucket_for(rows: int, buckets: Sequence[int]) -> int | None:
    """The smallest bucket that holds ``rows``, or None where none does."""
    index = bisect_left(buckets, rows)
    return buckets[index] if index < len(buckets) else None


def profile_for(size: int, profiles: Sequence[OptimizationProfile]) -> int:
    """Index of the profile for ``size`` tokens or rows: of those that hold it, the one that ends first.

    Raises:
        ValueError: no profile holds it.
    """
    fitting = [
        (profile.max, index) for index, profile in enumerate(profiles) if profile.min <= size <= profile.max
    ]
    if not fitting:
        raise ValueError(f"no optimization profile holds {size}")
    return min(fitting)[1]
