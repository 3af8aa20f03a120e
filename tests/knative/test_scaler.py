"""Golden cases of Knative's ``reconciler/autoscaling/kpa/scaler_test.go``, and laws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.autoscaler.scaler import Scaled, apply_bounds
from knative.autoscaler.status import Active, Reachability
from tests.knative.scaler_call import scaled
from tests.knative.scaler_cases import GOLDEN


@pytest.mark.parametrize(
    ("start", "patched", "call", "expected"), [pytest.param(*row, id=label) for label, *row in GOLDEN]
)
def test_golden_scaler(start: int, patched: bool, call: Callable[[], Scaled], expected: Scaled) -> None:
    """``start`` replicas before; Knative patches the Deployment only where what it applies is another number."""
    result = call()
    assert result == expected
    assert (result.apply and result.want != start) is patched


@pytest.mark.parametrize(
    ("low", "high", "desired", "bounded"),
    [(0, 0, 7, 7), (2, 0, 1, 2), (0, 5, 7, 5), (2, 5, 3, 3), (0, 0, -1, 0), (4, 3, 9, 3), (4, 3, 1, 4)],
)
def test_apply_bounds(low: int, high: int, desired: int, bounded: int) -> None:
    assert apply_bounds(low, high, desired) == bounded


@given(
    st.integers(-1, 60),
    st.sampled_from(Active),
    st.floats(0, 2000),
    st.integers(1, 10),
    st.integers(0, 10),
    st.sampled_from([Reachability.UNKNOWN, Reachability.REACHABLE]),
    st.booleans(),
)
def test_what_is_applied_stays_within_min_and_max_scale(
    desired: int,
    active: Active,
    age: float,
    low: int,
    more: int,
    reachability: Reachability,
    initialized: bool,
) -> None:
    annotations = {"min-scale": str(low), "max-scale": str(low + more)}
    result = scaled(desired, active, age, annotations, reachability=reachability, initialized=initialized)
    assert not result.apply or low <= result.want <= low + more
