from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.plan import OptimizationProfile
from predictor.runners.tensorrt.step.buckets import bucket_for, decode_buckets, profile_for


@pytest.mark.parametrize(
    ("limit", "buckets"),
    [
        (1, (1,)),
        (6, (1, 2, 4, 6)),
        (50, (1, 2, 4, 8, 16, 24, 32, 48, 50)),
        (192, (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192)),
    ],
)
def test_buckets_end_with_the_limit(limit: int, buckets: tuple[int, ...]) -> None:
    assert decode_buckets(limit) == buckets


@given(limit=st.integers(1, 1024), share=st.floats(0, 1))
def test_every_number_of_rows_has_the_next_larger_bucket(limit: int, share: float) -> None:
    buckets = decode_buckets(limit)
    rows = 1 + int(share * (limit - 1))
    bucket = bucket_for(rows, buckets)
    assert bucket is not None
    assert bucket >= rows
    assert all(other < rows for other in buckets if other < bucket)
    assert len(buckets) < 30
    assert bucket_for(limit + 1, buckets) is None


def test_the_profile_that_ends_first_is_taken_where_profiles_overlap() -> None:
    profiles = (
        OptimizationProfile(1, 64, 2048),
        OptimizationProfile(1, 8, 8),
        OptimizationProfile(9, 32, 32),
    )
    assert [profile_for(size, profiles) for size in (1, 8, 9, 32, 33, 2048)] == [1, 1, 2, 2, 0, 0]
    with pytest.raises(ValueError, match="2049"):
        profile_for(2049, profiles)
