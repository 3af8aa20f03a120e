from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.cache.circuit import Circuit, CircuitPolicy, CircuitState

POLICY = CircuitPolicy(failures=3, probe_s=1.0, probe_max_s=8.0)
CHANCE = st.floats(0.0, 1.0, exclude_max=True)


def opened(now: float = 0.0, jitter: float = 0.0, circuit: Circuit | None = None) -> Circuit:
    return (circuit or Circuit(POLICY)).opens(now, jitter)


@given(CHANCE)
def test_the_first_probe_comes_within_half_to_all_of_the_wait(jitter: float) -> None:
    circuit = opened(100.0, jitter)
    assert 100.5 <= circuit.probe_at <= 101.0
    assert circuit.probe_begins(circuit.probe_at - 0.01) is circuit
    assert circuit.probe_begins(circuit.probe_at).state is CircuitState.HALF_OPEN


def test_replicas_that_lost_it_together_probe_at_different_times() -> None:
    times = {opened(0.0, number / 100).probe_at for number in range(100)}
    assert len(times) == 100
    assert max(times) - min(times) > 0.4


def test_each_failed_probe_doubles_the_wait_up_to_the_bound() -> None:
    circuit, waits = opened(jitter=0.999999), []
    for _ in range(6):
        now = circuit.probe_at
        circuit = circuit.probe_begins(now).probe_failed(now, 0.999999)
        waits.append(round(circuit.probe_at - now))
    assert waits == [2, 4, 8, 8, 8, 8]


def test_a_thousand_failed_probes_are_no_overflow() -> None:
    circuit = opened()
    for _ in range(3_000):
        now = circuit.probe_at
        circuit = circuit.probe_begins(now).probe_failed(now, 0.5)
    assert circuit.probe_at - now <= POLICY.probe_max_s


def test_late_results_of_earlier_calls_change_nothing() -> None:
    circuit = opened()
    assert circuit.opens(0.1, 0.9) is circuit
    assert circuit.probe_succeeded(0.1) is circuit
    assert circuit.probe_failed(0.1, 0.9) is circuit
    probing = circuit.probe_begins(circuit.probe_at)
    assert probing.opens(1.0, 0.9) is probing


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = opened()
    circuit = circuit.probe_begins(circuit.probe_at).probe_succeeded(circuit.probe_at)
    assert circuit.allows


@pytest.mark.parametrize(("closed_for", "longest"), [(0.5, 2.0), (7.9, 2.0), (8.0, 1.0), (1e6, 1.0)])
def test_one_that_flaps_is_probed_less_and_one_that_was_well_is_not(
    closed_for: float, longest: float
) -> None:
    circuit = opened()
    back_at = circuit.probe_at
    circuit = circuit.probe_begins(back_at).probe_succeeded(back_at)
    again = opened(back_at + closed_for, 0.999999, circuit)
    assert again.probe_at - back_at - closed_for == pytest.approx(longest, rel=1e-3)


@given(st.lists(st.tuples(st.sampled_from("fbSF"), st.floats(0, 10), CHANCE), max_size=60))
def test_whatever_happens_at_most_one_probe_is_under_way_and_the_wait_is_bounded(
    events: list[tuple[str, float, float]],
) -> None:
    circuit, now = Circuit(POLICY), 0.0
    for kind, passed, jitter in events:
        now += passed
        before = circuit
        moves: dict[str, Callable[[], Circuit]] = {
            "f": lambda: circuit.opens(now, jitter),  # noqa: B023  called at once
            "b": lambda: circuit.probe_begins(now),  # noqa: B023
            "S": lambda: circuit.probe_succeeded(now),  # noqa: B023
            "F": lambda: circuit.probe_failed(now, jitter),  # noqa: B023
        }
        circuit = moves[kind]()
        if before.state is CircuitState.OPEN and circuit.state is CircuitState.HALF_OPEN:
            assert kind == "b"
            assert now >= before.probe_at
        if circuit.state is CircuitState.OPEN and circuit is not before:
            assert 0.5 * POLICY.probe_s - 1e-9 <= circuit.probe_at - now <= POLICY.probe_max_s + 1e-9
