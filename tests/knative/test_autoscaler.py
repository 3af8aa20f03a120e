"""Golden numbers of Knative's ``autoscaler/scaling/autoscaler_test.go``; Go lets the burst capacity be off by one,
this does not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from knative.autoscaler.decider import ScaleResult, initial_excess_burst_capacity
from knative.autoscaler.targets import DeciderSpec
from tests.knative.deciders import T0, autoscaler_of, spec_of

MINUTE = 60.0


@pytest.mark.parametrize(
    ("spec", "ready", "stable", "panic", "pods", "burst"),
    [
        pytest.param(spec_of(10, 100), 1, 0, 0, 0, -87, id="NoDataAtZeroNoAutoscale"),
        pytest.param(spec_of(181, -1), 1, 21, 26, 1, -1, id="StableModeUnlimitedTBC"),
        pytest.param(spec_of(10, 0), 1, 50, 49, 5, 0, id="0TBC"),
        pytest.param(spec_of(10, 100), 1, 50, 50, 5, -137, id="StableModeNoChange"),
        pytest.param(spec_of(10, 100), 5, 50, 50, 5, -84, id="StableModeNoChangeAlreadyScaled"),
        pytest.param(
            spec_of(1, 1982, max_scale_up_rate=1.1),
            2,
            3,
            3.1,
            3,
            -1983,
            id="StableModeIncreaseWithSmallScaleUpRate",
        ),
        pytest.param(
            spec_of(10, 1982, max_scale_down_rate=1.1),
            100,
            1,
            1,
            90,
            -650,
            id="StableModeDecreaseWithSmallScaleDownRate",
        ),
        pytest.param(
            spec_of(10, 1982, max_scale_down_rate=1.1, reachable=False),
            100,
            1,
            1,
            1,
            -650,
            id="StableModeDecreaseNonReachable",
        ),
        pytest.param(spec_of(10, 84), 1, 50, 100, 10, -171, id="PanicModeDoublePodCount"),
        pytest.param(spec_of(10, 81), 0, 1000, 888, 10, -969, id="UseOnePodAsMinimumIfEndpointsNotFound"),
    ],
)
def test_golden_autoscaler_scale(
    spec: DeciderSpec, ready: int, stable: float, panic: float, pods: int, burst: int
) -> None:
    assert autoscaler_of(spec).scale(T0, ready, stable, panic) == ScaleResult(pods, burst)


@pytest.mark.parametrize(("stable", "panic", "pods"), [(50, 30, 50), (20, 30, 30)])
def test_golden_autoscaler_scale_in_panic_takes_the_larger_wish(
    stable: float, panic: float, pods: int
) -> None:
    autoscaler = autoscaler_of(spec_of(1, 100))
    autoscaler.panic_time, autoscaler.max_panic_pods = T0 - 5, 5
    assert autoscaler.scale(T0, 5, stable, panic) == ScaleResult(pods, -124)


@pytest.mark.parametrize("metric", ["concurrency", "rps"])
@pytest.mark.parametrize(
    ("burst", "loads"),
    [
        (
            101,
            [(50, 10, 5, -98), (100, 10, 10, -98)],
        ),  # TestAutoscalerStableModeIncreaseWithConcurrencyDefault
        (101, [(50, 50, 5, -138), (100, 99, 10, -187)]),  # TestAutoscalerStableModeIncreaseWithRPS
        (100, [(50, 50, 5, -137), (100, 99, 10, -186)]),  # TestAutoscalerMetrics, ...WithRPS
    ],
)
def test_golden_stable_mode_increase(
    metric: str, burst: float, loads: list[tuple[float, float, int, int]]
) -> None:
    autoscaler = autoscaler_of(spec_of(10, burst, scaling_metric=metric))
    for stable, panic, pods, excess in loads:
        assert autoscaler.scale(T0, 1, stable, panic) == ScaleResult(pods, excess)


def test_golden_unpanic_after_slow_increase() -> None:
    autoscaler = autoscaler_of(spec_of(1, 98))
    assert autoscaler.scale(T0, 10, 11, 25) == ScaleResult(25, -110)
    assert autoscaler.panic_time == T0
    assert autoscaler.scale(T0 + 30, 40, 30, 41) == ScaleResult(41, -86)
    assert autoscaler.panic_time == T0
    assert autoscaler.scale(T0 + 62, 55, 50, 56) == ScaleResult(50, -81)
    assert not autoscaler.panicking


def test_golden_extend_panic_window() -> None:
    autoscaler = autoscaler_of(spec_of(1, 98))
    assert autoscaler.scale(T0, 10, 11, 25).desired_pod_count == 25
    assert autoscaler.scale(T0 + 30, 40, 30, 80) == ScaleResult(80, -125)
    assert autoscaler.panic_time == T0 + 30


def test_golden_stable_mode_decrease() -> None:
    autoscaler = autoscaler_of(spec_of(10, 98))
    assert autoscaler.scale(T0, 8, 100, 100) == ScaleResult(10, -92)
    assert autoscaler.scale(T0, 8, 50, 50) == ScaleResult(5, -42)


def test_golden_no_traffic_scales_to_zero() -> None:
    autoscaler = autoscaler_of(spec_of(10, 75))
    assert autoscaler.scale(T0, 1, 1, 0) == ScaleResult(1, -62)
    assert autoscaler.scale(T0, 1, 0, 0) == ScaleResult(0, -62)


def test_golden_activation_scale() -> None:
    autoscaler = autoscaler_of(spec_of(10, 75, activation_scale=2))
    assert autoscaler.scale(T0, 1, 0, 0) == ScaleResult(0, -62)
    assert autoscaler.scale(T0, 1, 1, 0) == ScaleResult(2, -62)


def test_golden_panic_mode_exponential_track_and_stabilize() -> None:
    autoscaler = autoscaler_of(spec_of(1, 101))
    readies, loads, burst = (1, 6, 36, 216, 1296), (6, 36, 216, 1296, 1296), (-106, -129, -269, -1109, 331)
    for second, (ready, load, excess) in enumerate(zip(readies, loads, burst, strict=True)):
        assert autoscaler.scale(T0 + second, ready, load, load) == ScaleResult(load, excess)
    assert autoscaler.panic_time == T0 + 3


def test_golden_panic_then_unpanic_scale_down() -> None:
    autoscaler = autoscaler_of(spec_of(10, 93))
    assert autoscaler.scale(T0, 1, 100, 100) == ScaleResult(10, -180)
    assert autoscaler.scale(T0, 10, 100, 1000) == ScaleResult(100, -960)
    assert autoscaler.scale(T0 + 30, 10, 1, 1) == ScaleResult(100, 39)
    assert autoscaler.scale(T0 + 61, 10, 1, 1) == ScaleResult(1, 39)


def test_golden_rate_limit_scale_up() -> None:
    autoscaler = autoscaler_of(spec_of(10, 61))
    assert autoscaler.scale(T0, 1, 1000, 1001) == ScaleResult(10, -1049)
    assert autoscaler.scale(T0, 10, 1000, 1001) == ScaleResult(100, -929)


def test_golden_rate_limit_scale_down() -> None:
    autoscaler = autoscaler_of(spec_of(10, 61))
    assert autoscaler.scale(T0, 100, 1, 1) == ScaleResult(10, 1271)
    assert autoscaler.scale(T0, 10, 1, 1) == ScaleResult(1, 71)


def test_golden_update_target() -> None:
    autoscaler = autoscaler_of(spec_of(10, 77))
    assert autoscaler.scale(T0, 1, 100, 101) == ScaleResult(10, -165)
    autoscaler.update(spec_of(1, 71))
    assert autoscaler.scale(T0, 10, 100, 101) == ScaleResult(100, -159)


def delayed(seconds: float, **changes: object) -> DeciderSpec:
    spec = spec_of(10, 0, panic_threshold=100.0, scale_down_delay=seconds, stable_window=0.0)
    return replace(spec, **changes)  # type: ignore[arg-type]


def test_golden_scale_down_delay_of_five_minutes() -> None:
    autoscaler = autoscaler_of(delayed(5 * MINUTE), ready=0, now=0.0)
    for now, load, pods in (
        (2.0, 40, 4),
        (5 * MINUTE, 0, 4),
        (5 * MINUTE + 2, 0, 0),
        (9 * MINUTE, 40, 4),
        (10 * MINUTE, 30, 4),
        (11 * MINUTE, 0, 4),
        (14 * MINUTE, 0, 3),
        (15 * MINUTE, 0, 0),
    ):
        assert autoscaler.scale(now, 0, load, load).desired_pod_count == pods, now


def test_golden_scale_down_delay_does_not_hold_an_unreachable_revision() -> None:
    autoscaler = autoscaler_of(delayed(5 * MINUTE), ready=0, now=0.0)
    assert autoscaler.scale(2.0, 0, 40, 40).desired_pod_count == 4
    assert autoscaler.scale(MINUTE, 0, 0, 0).desired_pod_count == 4
    autoscaler.update(delayed(5 * MINUTE, reachable=False))
    assert autoscaler.scale(MINUTE, 0, 0, 0).desired_pod_count == 0


def test_golden_no_scale_down_delay_is_not_a_window_of_one() -> None:
    autoscaler = autoscaler_of(delayed(0.0), ready=0, now=0.0)
    assert autoscaler.scale(0.0, 0, 40, 40).desired_pod_count == 4
    assert autoscaler.scale(0.5, 0, 20, 20).desired_pod_count == 2


@pytest.mark.parametrize(("ready", "panicking"), [(0, False), (1, False), (2, True)])
def test_golden_start_in_panic_with_more_than_one_pod(ready: int, panicking: bool) -> None:
    autoscaler = autoscaler_of(spec_of(), ready=ready)
    assert autoscaler.panicking is panicking
    assert autoscaler.max_panic_pods == ready


def test_panic_ends_strictly_after_the_stable_window() -> None:
    autoscaler = autoscaler_of(spec_of(), ready=2)
    autoscaler.scale(T0 + 60, 2, 0, 0)
    assert autoscaler.panicking
    autoscaler.scale(T0 + 60.001, 2, 0, 0)
    assert not autoscaler.panicking


def test_a_new_panic_does_not_remember_the_pods_of_an_older_one() -> None:
    autoscaler = autoscaler_of(spec_of(1, 0))
    assert autoscaler.scale(T0, 10, 50, 50).desired_pod_count == 50
    assert autoscaler.scale(T0 + 62, 10, 1, 1).desired_pod_count == 1
    assert autoscaler.scale(T0 + 64, 1, 3, 3).desired_pod_count == 3


def test_one_pod_panics_as_soon_as_the_load_is_above_its_target() -> None:
    for panic, panicking in ((5.6, False), (5.601, True)):
        autoscaler = autoscaler_of(spec_of(5.6, 211))
        autoscaler.scale(T0, 1, 1, panic)
        assert autoscaler.panicking is panicking


@pytest.mark.parametrize(
    ("burst", "initial", "excess"), [(-1, 3, -1), (0, 3, 0), (211, 1, -197), (10, 3, 30)]
)
def test_before_the_first_data_the_burst_capacity_is_that_of_the_initial_scale(
    burst: float, initial: int, excess: int
) -> None:
    assert initial_excess_burst_capacity(spec_of(10, burst, initial_scale=initial)) == excess
