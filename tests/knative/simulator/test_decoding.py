"""The decoder that jumps against one that takes every step, and the profiles against what was measured over HTTP."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knative.profiling.profile import PredictorProfile, load_profile
from knative.simulator.cluster.decoding import CONTEXT_BUCKET_TOKENS, DecodingModel, SimulatedDecoder
from knative.simulator.cluster.pods import PredictorPod
from knative.simulator.engine.events import Clock, SimulatedRequest, Status
from knative.simulator.engine.processors import DedicatedCore
from tests.knative.approx import approx
from tests.knative.profiles import profile

Ends = dict[int, tuple[Status, float]]


@dataclass(frozen=True)
class Arrival:
    time: float
    prompt: int
    new: int
    patience: float = 1e9


arrivals = st.lists(
    st.builds(
        Arrival,
        time=st.integers(1, 10_000).map(math.log),  # no two differ by whole steps
        prompt=st.integers(1, 60),
        new=st.integers(1, 12),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda a: a.time,
)


def run_out(clock: Clock) -> None:
    while clock.next_time < float("inf"):
        clock.run_until(clock.next_time)


def pod_of(measured: PredictorProfile, clock: Clock, left: Callable[[], None], slots: int) -> PredictorPod:
    """A pod that tells ``left`` of each answer."""
    model = DecodingModel.of(measured, slots=slots, queue_tokens=10**9)
    return PredictorPod(
        clock, lambda: DedicatedCore(clock), model, measured.request_overhead_seconds, lambda *_: left()
    )


def jumping(model: DecodingModel, given: list[Arrival]) -> Ends:
    clock, ends = Clock(), Ends()
    decoder = SimulatedDecoder(
        clock, DedicatedCore(clock), model, lambda r, status: ends.update({r.index: (status, clock.now)})
    )
    for index, a in enumerate(sorted(given, key=lambda a: a.time)):
        clock.run_until(a.time)
        request = SimulatedRequest(index, a.time, a.time + a.patience, a.prompt, a.new, a.prompt + a.new, -1)
        if not decoder.submit(request):
            ends[index] = (Status.TOO_MANY, clock.now)
    run_out(clock)
    return ends


def stepping(model: DecodingModel, given: list[Arrival]) -> Ends:
    """Every step by itself: the definition."""
    coming = sorted(enumerate(sorted(given, key=lambda a: a.time)), key=lambda pair: pair[1].time)
    ends, now = Ends(), 0.0
    waiting: list[tuple[int, Arrival]] = []
    running: dict[int, list[int]] = {}  # index: tokens left
    while coming or waiting or running:
        if not waiting and not running:
            now = max(now, coming[0][1].time)
        while coming and coming[0][1].time <= now:
            waiting.append(coming.pop(0))
        tokens = let_in = 0
        while waiting and len(running) < model.slots:
            index, a = waiting[0]
            if let_in and tokens + a.prompt > model.prefill_tokens:
                break
            waiting.pop(0)
            tokens, let_in = tokens + a.prompt, let_in + 1
            running[index] = [a.new]
        seconds = model.table[len(running)][0]
        now += seconds + tokens * model.prefill_seconds_per_token + bool(tokens) * model.prefill_step_seconds
        for index in list(running):
            running[index][0] -= 1
            if not running[index][0]:
                del running[index]
                ends[index] = (Status.OK, now)
    return ends


@settings(max_examples=200)
@given(arrivals)
def test_jumps_end_every_request_when_single_steps_would(given: list[Arrival]) -> None:
    model = DecodingModel.of(profile(), slots=4, queue_tokens=10**9)
    jumped, stepped = jumping(model, given), stepping(model, given)
    assert jumped.keys() == stepped.keys()
    for index, (status, time) in stepped.items():
        assert jumped[index][0] is status
        assert jumped[index][1] == pytest.approx(time, abs=1e-9)


def test_one_request_takes_its_prompt_and_one_step_per_token() -> None:
    model = DecodingModel.of(profile(), slots=4, queue_tokens=10**9)
    assert jumping(model, [Arrival(0.0, prompt=20, new=5)]) == {
        0: (Status.OK, approx(0.003 + 20 * 0.001 + 5 * 0.010))
    }


def test_steps_grow_with_what_the_slots_hold() -> None:
    rising = profile(
        step=profile().step.__class__((1, 4), (0, 256), ((0.010, 0.020), (0.016, 0.026)), 0.0),
        prefill_tokens=10_000,
    )
    model = DecodingModel.of(rising, slots=4, queue_tokens=10**9)
    assert model.table[1][0] == pytest.approx(0.010 + 0.010 * CONTEXT_BUCKET_TOKENS / 2 / 256)
    short, long = (jumping(model, [Arrival(0.0, prompt=p, new=50)])[0][1] - p * 0.001 for p in (8, 200))
    assert long - short == pytest.approx(50 * 0.010 * 192 / 256, rel=0.03)


def test_the_queue_is_bounded_in_tokens() -> None:
    model = DecodingModel.of(profile(), slots=1, queue_tokens=100)
    given = [Arrival(0.0, 20, 10), *(Arrival(0.001, 30, 10) for _ in range(4))]
    statuses = [status for status, _ in (jumping(model, given)[index] for index in range(5))]
    assert statuses == [Status.OK, Status.OK, Status.OK, Status.TOO_MANY, Status.TOO_MANY]


def test_a_request_that_times_out_frees_its_slot_or_gets_none() -> None:
    model = DecodingModel.of(profile(), slots=1, queue_tokens=10**9)
    ends = jumping(
        model,
        [Arrival(0.0, 10, 100, patience=0.5), Arrival(0.01, 10, 10, patience=0.2), Arrival(0.02, 10, 10)],
    )
    assert ends[0][0] is Status.TIMEOUT
    assert ends[0][1] == pytest.approx(0.5, abs=0.011)  # the end of the step in which the deadline lies
    assert ends[1][0] is Status.TIMEOUT
    assert ends[2] == (Status.OK, approx(ends[0][1] + 0.003 + 0.010 + 10 * 0.010))


def test_a_lost_pod_hands_over_what_it_held_and_says_no_more() -> None:
    clock, ends = Clock(), Ends()
    decoder = SimulatedDecoder(
        clock,
        DedicatedCore(clock),
        DecodingModel.of(profile(), slots=2, queue_tokens=10**9),
        lambda r, status: ends.update({r.index: (status, clock.now)}),
    )
    requests = [SimulatedRequest(i, 0.0, 1e9, 10, 10 + i, 20, -1) for i in range(3)]
    assert all(decoder.submit(request) for request in requests)
    clock.run_until(0.05)
    assert sorted(r.index for r in decoder.kill()) == [0, 1, 2]
    clock.run_until(10.0)
    assert ends == {}


def closed_loop(measured: PredictorProfile, callers: int, each: int, prompt: int, new: int) -> float:
    """Tokens per second of callers that ask one request after the other."""
    clock, numbers, left = Clock(), itertools.count(), [callers * each]

    def ask(_: object) -> None:
        if left[0]:
            left[0] -= 1
            pod.accept(SimulatedRequest(next(numbers), clock.now, 1e9, prompt, new, 0, -1))

    pod = pod_of(measured, clock, lambda: clock.call_at(clock.now, ask), measured.slots)
    for _ in range(callers):
        ask(None)
    run_out(clock)
    return callers * each * new / clock.now


OVER_HTTP = {
    "float16": {1: 269, 8: 1951, 32: 5759, 64: 8857, 128: 12_494},
    "int8": {1: 438, 8: 3154, 32: 8819, 64: 11_947, 128: 17_309},
}
"""docs/benchmarks/gpu/README.md, second run: tokens/s by requests in flight, 64 in, 64 out, three each.
Another machine than the one that the profiles were measured on, four days before; nothing is fitted to it."""


@pytest.mark.parametrize("precision", OVER_HTTP)
def test_the_h200_profiles_are_near_what_was_measured_over_http(precision: str) -> None:
    measured = load_profile(f"7b-h200-full-{precision}")
    for callers, tokens_per_s in OVER_HTTP[precision].items():
        assert closed_loop(measured, callers, 3, 64, 64) == pytest.approx(tokens_per_s, rel=0.05)


SLOTS = {1: (269, 7.733, 15.044), 4: (1019, 2.146, 3.992), 16: (3537, 0.728, 1.140), 64: (8100, 0.481, 0.482)}
"""The same page, first run: 64 requests at once by slots; tokens/s, P50 and P99 in seconds. Nothing is fitted to it.
"""


@pytest.mark.parametrize("slots", SLOTS)
def test_the_h200_profile_predicts_fewer_slots(slots: int) -> None:
    tokens_per_s, p50, p99 = SLOTS[slots]
    clock, latencies = Clock(), list[float]()
    pod = pod_of(load_profile("7b-h200-full-float16"), clock, lambda: latencies.append(clock.now), slots)
    for index in range(64):
        pod.accept(SimulatedRequest(index, 0.0, 1e9, 64, 64, 0, -1))
    run_out(clock)
    assert 64 * 64 / latencies[-1] == pytest.approx(tokens_per_s, rel=0.10)
    assert float(np.percentile(latencies, 50)) == pytest.approx(p50, rel=0.15)
    assert float(np.percentile(latencies, 99)) == pytest.approx(p99, rel=0.10)
