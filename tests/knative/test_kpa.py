from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knative.autoscaler.annotations import GROUP, RevisionScaling, revision_scaling
from knative.autoscaler.concurrency import FIRST_REQUEST, Stat
from knative.autoscaler.config import HPA_CLASS, AutoscalerConfig
from knative.autoscaler.kpa import KPA, Decision, Mode, num_activators, sks_mode
from knative.autoscaler.status import Active, Reachability
from knative.autoscaler.targets import make_decider
from knative.errors import ConfigError
from tests.knative.driver import Drive

CONFIG = AutoscalerConfig()


def revision(concurrency: int = 8, config: AutoscalerConfig = CONFIG, **annotations: str) -> RevisionScaling:
    named = {GROUP + name.replace("_", "-"): value for name, value in annotations.items()}
    return revision_scaling(named, concurrency, config)


def drive(
    scaling: RevisionScaling,
    load: Callable[[int], float],
    *,
    start_s: int = 0,
    ready: int = 0,
    config: AutoscalerConfig = CONFIG,
    reachability: Reachability = Reachability.REACHABLE,
) -> Drive:
    kpa = KPA(config, scaling, now=0.0, ready=ready, reachability=reachability)
    return Drive(kpa, load, start_s=start_s, ready=ready)


def replicas_over_time(entries: list[tuple[int, int, Decision]]) -> list[tuple[int, int]]:
    """Second and replicas wherever they change."""
    changes: list[tuple[int, int]] = []
    for now, _, decision in entries:
        if not changes or changes[-1][1] != decision.replicas:
            changes.append((now, decision.replicas))
    return changes


def test_a_new_revision_starts_with_its_initial_scale_behind_the_activator() -> None:
    kpa = KPA(CONFIG, revision(initial_scale="3"), now=0.0)
    decision = kpa.tick(0.0, 0)
    assert (decision.replicas, decision.desired, decision.want) == (3, -1, 3)
    assert (decision.mode, decision.activator_in_path, decision.active) == (
        Mode.PROXY,
        True,
        Active.ACTIVATING,
    )
    assert decision.excess_burst_capacity == 3 * 8 - 211


def test_a_steady_load_settles_at_the_load_over_the_target() -> None:
    run = drive(revision(), lambda _: 28.0, ready=1).run(0, 200)
    assert run[-1][2].replicas == run[-1][2].desired == 5  # ceil(28 / 5.6)
    assert run[-1][2].active is Active.ACTIVE
    assert not run[-1][2].panicking


def test_a_jump_panics_and_pods_stay_until_a_stable_window_after_it() -> None:
    run = drive(revision(), lambda now: 80.0 if 100 <= now < 110 else 5.0, start_s=5, ready=1).run(0, 400)
    panicking = [now for now, _, decision in run if decision.panicking]
    most = max(decision.replicas for _, _, decision in run)
    assert min(panicking) == 100
    assert most == 15  # ceil(80 / 5.6)
    kept = [decision.replicas for now, _, decision in run if 110 <= now <= max(panicking)]
    assert set(kept) == {most}
    assert run[-1][2].replicas == 1


@pytest.mark.parametrize(
    ("burst", "zero_at"),
    # The last load is reported in second 99: the tick of second 160 is the first to find the stable window empty.
    # With the activator in the path all along the pod goes then; else it must first be there for the grace period.
    [("211", 160), ("0", 190), ("-1", 160)],
)
def test_golden_idle_goes_to_zero_after_the_stable_window_and_at_most_the_grace_period(
    burst: str, zero_at: int
) -> None:
    run = drive(revision(target_burst_capacity=burst), lambda now: 2.0 if now < 100 else 0.0, ready=1)
    entries = run.run(0, 300)
    gone = next(now for now, _, decision in entries if decision.replicas == 0)
    assert gone == zero_at
    assert entries[-1][2].active is Active.INACTIVE
    assert entries[-1][2].activator_in_path


def test_the_last_pod_is_retained_as_long_as_asked() -> None:
    scaling = revision(scale_to_zero_pod_retention_period="5m")
    entries = drive(scaling, lambda now: 2.0 if now < 100 else 0.0, ready=1).run(0, 600)
    gone = next(now for now, _, decision in entries if decision.replicas == 0)
    assert gone == 160 + 300


def test_min_scale_keeps_pods_without_load_and_nothing_less_than_two_is_active() -> None:
    entries = drive(revision(min_scale="2"), lambda _: 0.0, start_s=10).run(0, 300)
    assert {decision.replicas for now, _, decision in entries if now > 0} == {2}
    assert all((ready >= 2) is (decision.active is Active.ACTIVE) for _, ready, decision in entries[1:])


def test_a_request_at_zero_asks_for_a_tick_at_once() -> None:
    simulated = drive(revision(), lambda now: 2.0 if now < 10 else 0.0, ready=1)
    assert simulated.run(0, 200)[-1][2].replicas == 0
    kpa = simulated.kpa
    assert not KPA(CONFIG, revision(), now=0.0).observe(0.0, FIRST_REQUEST)  # nothing was decided yet
    assert kpa.observe(200.9, FIRST_REQUEST)
    decision = kpa.tick(200.9, 0)
    assert (decision.replicas, decision.active, decision.mode) == (1, Active.ACTIVATING, Mode.PROXY)
    assert not kpa.observe(201.0, Stat(1.0))


def test_activation_scale_starts_more_than_one_pod_from_zero() -> None:
    simulated = drive(revision(activation_scale="3"), lambda now: 1.0 if now < 10 else 0.0, ready=1)
    simulated.run(0, 300)
    assert simulated.kpa.replicas == 0
    simulated.load = lambda _: 0.5
    assert simulated.run(300, 301)[-1][2].replicas == 3


def test_a_revision_that_no_route_names_any_more_goes_to_zero_despite_min_scale() -> None:
    simulated = drive(revision(min_scale="4"), lambda _: 0.0)
    assert simulated.run(0, 200)[-1][2].replicas == 4
    simulated.kpa.set_reachability(Reachability.UNREACHABLE)
    entries = simulated.run(200, 300)
    assert entries[-1][2].replicas == 0
    # It was active for longer than the window, and the activator was in the path for longer than the grace period.
    assert replicas_over_time(entries) == [(200, 0)]


@pytest.mark.parametrize(("low", "replicas"), [("0", [(0, 1), (631, 0)]), ("1", [(0, 1)])])
def test_pods_that_never_start_are_given_up_30_s_after_the_progress_deadline_without_min_scale(
    low: str, replicas: list[tuple[int, int]]
) -> None:
    entries = drive(revision(min_scale=low), lambda _: 0.0, start_s=10_000).run(0, 700)
    assert replicas_over_time(entries) == replicas


def test_golden_activators() -> None:
    spec = make_decider(revision(), CONFIG)
    assert num_activators(0, spec) == 3  # ceil(211 / 100)
    assert num_activators(10, spec) == 3  # ceil((10 * 8 + 211) / 100)
    assert num_activators(40, spec) == 6
    assert num_activators(40, replace(spec, target_burst_capacity=0.0)) == 2
    assert num_activators(40, replace(spec, target_burst_capacity=-1.0)) == 4
    assert num_activators(0, replace(spec, target_burst_capacity=-1.0)) == 2


@pytest.mark.parametrize(
    ("want", "excess", "mode"),
    [
        (1, 0, Mode.SERVE),
        (1, -1, Mode.PROXY),
        (0, 5, Mode.PROXY),
        (-1, 5, Mode.PROXY),
    ],
)
def test_golden_mode(want: int, excess: int, mode: Mode) -> None:
    assert sks_mode(want, excess) is mode


def test_with_capacity_to_spare_the_activator_leaves_the_path() -> None:
    entries = drive(revision(target_burst_capacity="5", min_scale="3"), lambda _: 4.0).run(0, 60)
    assert entries[-1][2].excess_burst_capacity == 3 * 8 - 5 - 4
    assert (entries[-1][2].mode, entries[-1][2].activator_in_path) == (Mode.SERVE, False)


def test_without_ready_pods_the_activator_is_in_the_path_in_either_mode() -> None:
    kpa = KPA(CONFIG, revision(target_burst_capacity="0", min_scale="1"), now=0.0, ready=1)
    kpa.observe(0.0, Stat(1.0))
    assert not kpa.tick(0.0, 1).activator_in_path
    lost = kpa.tick(2.0, 0)
    assert (lost.mode, lost.activator_in_path) == (Mode.SERVE, True)


def test_a_slow_network_delays_the_step_to_zero() -> None:
    gone = []
    for seconds in (0.0, 40.0):
        kpa = KPA(CONFIG, revision(target_burst_capacity="0"), now=0.0, ready=1, network_programming=seconds)
        entries = Drive(kpa, lambda now: 2.0 if now < 100 else 0.0, ready=1).run(0, 300)
        gone.append(next(now for now, _, decision in entries if decision.replicas == 0))
    assert gone == [190, 200]  # it is inactive from second 160 on, and a probe finds the activator 40 s later


def test_initial_scale_wins_over_max_scale_until_it_was_reached_as_in_knative() -> None:
    entries = drive(revision(initial_scale="5", max_scale="3"), lambda _: 20.0, start_s=4).run(0, 200)
    assert entries[0][2].replicas == 5
    assert entries[-1][2].replicas == 3


def test_with_unlimited_burst_capacity_pods_are_not_scraped() -> None:
    counted = []
    for burst in ("211", "-1"):
        kpa = KPA(CONFIG, revision(target_burst_capacity=burst), now=0.0, ready=1)
        kpa.observe(0.0, Stat(3.0))
        kpa.observe_pods(0.0, [], [Stat(4.0)], Random(0))
        counted.append(kpa.metrics.stable_and_panic("concurrency", 0.0))
    assert counted == [(7.0, 7.0), (3.0, 3.0)]


def test_another_class_is_refused() -> None:
    scaling = replace(revision(), pod_autoscaler_class=HPA_CLASS)
    with pytest.raises(ConfigError, match="class"):
        KPA(CONFIG, scaling, now=0.0)


LOADS = st.lists(st.floats(0, 400), min_size=1, max_size=12)


def stepped(loads: list[float]) -> Callable[[int], float]:
    """Ten seconds of each load."""
    return lambda now: loads[min(now // 10, len(loads) - 1)]


@settings(max_examples=40)
@given(LOADS, st.integers(0, 4), st.integers(0, 6), st.integers(0, 20))
def test_reachable_it_stays_between_min_and_max_scale(
    loads: list[float], low: int, more: int, start_s: int
) -> None:
    high = max(low + more, 1)
    scaling = revision(min_scale=str(low), max_scale=str(high))
    entries = drive(scaling, stepped(loads), start_s=start_s).run(0, 10 * len(loads) + 100)
    assert all(low <= decision.replicas <= high for _, _, decision in entries)


@settings(max_examples=40)
@given(LOADS, st.integers(0, 20))
def test_replicas_never_fall_while_it_panics(loads: list[float], start_s: int) -> None:
    entries = drive(revision(), stepped(loads), start_s=start_s, ready=1).run(0, 10 * len(loads) + 100)
    for (_, _, before), (_, _, after) in pairwise(entries):
        if before.panicking and after.panicking:
            assert after.replicas >= before.replicas


def constant(load: float) -> Callable[[int], float]:
    return lambda _: load


@settings(max_examples=40)
@given(st.floats(0, 200), st.floats(0, 200), st.integers(0, 10))
def test_a_larger_steady_load_never_ends_with_fewer_pods(load: float, more: float, start_s: int) -> None:
    ends = [
        drive(revision(), constant(level), start_s=start_s, ready=1).run(0, 240)[-1][2].replicas
        for level in (load, load + more)
    ]
    assert ends[0] <= ends[1]


@settings(max_examples=20)
@given(LOADS, st.integers(0, 20))
def test_the_same_load_gives_the_same_decisions(loads: list[float], start_s: int) -> None:
    first, second = (
        drive(revision(), stepped(loads), start_s=start_s).run(0, 10 * len(loads) + 50) for _ in range(2)
    )
    assert first == second
