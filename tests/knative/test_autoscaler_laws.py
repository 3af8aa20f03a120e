from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.knative.deciders import T0, autoscaler_of, spec_of

LOADS = st.floats(0, 1e4)
TICKS = st.lists(st.tuples(st.integers(0, 200), LOADS, LOADS), min_size=1, max_size=40)


@given(TICKS)
def test_it_never_scales_down_while_it_panics(ticks: list[tuple[int, float, float]]) -> None:
    autoscaler, previous = autoscaler_of(spec_of(5.6, 211)), None
    for index, (ready, stable, panic) in enumerate(ticks):
        desired = autoscaler.scale(T0 + 2 * index, ready, stable, panic).desired_pod_count
        if autoscaler.panicking and previous is not None:
            assert desired >= previous
        previous = desired if autoscaler.panicking else None


@given(st.integers(0, 200), LOADS, LOADS, st.floats(0, 1e3), st.floats(0, 1e3), st.integers(0, 9))
def test_more_load_never_wants_fewer_pods(
    ready: int, stable: float, panic: float, more_stable: float, more_panic: float, activation: int
) -> None:
    spec = spec_of(5.6, 211, activation_scale=activation)
    less = autoscaler_of(spec).scale(T0, ready, stable, panic)
    more = autoscaler_of(spec).scale(T0, ready, stable + more_stable, panic + more_panic)
    assert more.desired_pod_count >= less.desired_pod_count
    assert more.excess_burst_capacity <= less.excess_burst_capacity


@given(TICKS)
def test_more_load_in_every_tick_never_wants_fewer_pods_in_any(ticks: list[tuple[int, float, float]]) -> None:
    low, high = autoscaler_of(spec_of(5.6, 211)), autoscaler_of(spec_of(5.6, 211))
    for index, (ready, stable, panic) in enumerate(ticks):
        now = T0 + 2 * index
        less = low.scale(now, ready, stable, panic)
        more = high.scale(now, ready, stable * 1.5, panic * 1.5)
        assert more.desired_pod_count >= less.desired_pod_count


@given(TICKS, st.booleans())
def test_the_same_ticks_give_the_same_answers(ticks: list[tuple[int, float, float]], reachable: bool) -> None:
    spec = spec_of(5.6, 211, reachable=reachable, scale_down_delay=10.0)
    first, second = autoscaler_of(spec), autoscaler_of(spec)
    for index, tick in enumerate(ticks):
        assert first.scale(T0 + 2 * index, *tick) == second.scale(T0 + 2 * index, *tick)


@given(st.integers(0, 500), LOADS)
def test_one_tick_stays_within_the_rates(ready: int, load: float) -> None:
    desired = autoscaler_of(spec_of(0.5, 211)).scale(T0, ready, load, load).desired_pod_count
    assert max(1, ready) // 10 <= desired <= 10 * max(1, ready)
