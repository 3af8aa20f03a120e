"""Whole runs: Knative's queues and limits, cold starts, slices, cache, canary, losses, and laws that must hold."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knative.autoscaler.annotations import GROUP, RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.profiling.profile import PredictorProfile, load_profile
from knative.simulator.cluster.deployment import ColdStart
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.engine.events import Status
from knative.simulator.engine.other_processes import BusyCores
from knative.simulator.engine.processors import CoreSpeeds
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.load.trace import Trace
from knative.simulator.load.workload import CacheModel, Traffic
from knative.simulator.result import SimulationResult
from knative.simulator.scenarios.scenario import Node, PredictorService, Scenario, TransformerService
from knative.simulator.simulation import simulate
from tests.knative.profiles import profile

CONFIG = AutoscalerConfig()
SHORT = Traffic(chars=10, spread=0.0, prompt_tokens_per_char=1.0, template_tokens=0, new_tokens_per_char=0.9)
"""10 tokens in and 10 out for every request: 112 ms alone on the tiny profile."""
ALONE_S = 0.002 + 0.003 + 10 * 0.001 + 10 * 0.010


def scaling(concurrency: int = 4, **annotations: str) -> RevisionScaling:
    named = {GROUP + name.replace("_", "-"): value for name, value in annotations.items()}
    return revision_scaling(named, concurrency, CONFIG)


def fixed(pods: int, concurrency: int = 4, **annotations: str) -> RevisionScaling:
    return scaling(
        concurrency, min_scale=str(pods), max_scale=str(pods), initial_scale=str(pods), **annotations
    )


def scenario(
    scaled: RevisionScaling,
    front: bool = False,
    predictor: Mapping[str, Any] | None = None,
    **changes: object,
) -> Scenario:
    service = PredictorService(
        "predictor",
        scaled,
        **{"profile": profile(), "cold_start": ColdStart(1.0, 2.0, 5.0, 10.0), **(predictor or {})},
    )
    transformer = TransformerService(fixed(1, 0), TransformerModel(0.0, 0.0, 10_000)) if front else None
    settings: Mapping[str, Any] = {"traffic": SHORT, "overhead_s": 0.0, **changes}
    return Scenario("test", (service,), transformer, **settings)


def batches(
    texts: int | dict[int, float], size: int, in_flight: int, trace: Trace, **changes: Any
) -> SimulationResult:
    """A trace of requests with several texts, whose transformer takes no time."""
    model = TransformerModel(0.0, 0.0, 10_000, group_size=size, groups_in_flight=in_flight)
    traffic = dataclasses.replace(SHORT, texts_per_request=texts)
    run = scenario(fixed(1, 0), front=True, traffic=traffic, **changes)
    return simulate(dataclasses.replace(run, transformer=TransformerService(fixed(1, 0), model)), trace)


def test_a_request_of_many_texts_ends_with_its_last_one() -> None:
    result = batches(8, 1, 9, at(0.0))
    assert statuses(result) == [Status.OK]
    assert len(result.workload) == 1
    assert result.workload.chars.tolist() == [80]
    # The slots of the profile do not hold all at once.
    assert result.latencies[0] > ALONE_S


def test_the_autoscaler_sees_the_texts_of_a_request_as_they_are_grouped() -> None:
    def most_in_flight(size: int, in_flight: int) -> int:
        result = batches(64, size, in_flight, at(*np.arange(0, 6, 0.25).tolist(), seconds=8.0))
        return max(snapshot.in_flight for snapshot in result.snapshots)

    at_once, in_fours, one_by_one = most_in_flight(64, 1), most_in_flight(4, 5), most_in_flight(1, 17)
    assert at_once < in_fours < one_by_one
    assert one_by_one >= 16


def test_a_short_request_waits_for_the_groups_of_a_long_one_alone() -> None:
    def short_s(size: int, in_flight: int) -> float:
        trace = at(0.0, *np.arange(0.5, 3, 0.25).tolist(), seconds=4.0)
        # The first request has 200 texts: two numbers of texts, and a seed that draws the large one first alone.
        for seed in range(1000):
            counts = {1: 0.97, 200: 0.03}
            result = batches(counts, size, in_flight, trace, seed=seed, timeout_s=60.0)
            chars = (result.workload.chars // 10).tolist()
            if chars[0] == 200 and set(chars[1:]) == {1}:
                assert result.answered().all()
                return float(max(result.latencies[1:]))
        raise AssertionError("no seed draws a long request first")

    assert short_s(200, 1) > 5 * short_s(4, 2)


@settings(max_examples=25)
@given(
    texts=st.sampled_from([2, {1: 0.5, 7: 0.5}, {3: 1.0, 40: 0.2}]),
    size=st.integers(1, 9),
    in_flight=st.integers(1, 6),
    kind=st.sampled_from(["none", "rate", "zipf"]),
    failures=st.sampled_from([(), (1.0,), (0.5, 2.5)]),
    queue_tokens=st.sampled_from([60, 400, 100_000]),
    seed=st.integers(0, 1000),
)
def test_every_request_of_many_texts_ends_once_whatever_fails(
    texts: int | dict[int, float],
    size: int,
    in_flight: int,
    kind: str,
    failures: tuple[float, ...],
    queue_tokens: int,
    seed: int,
) -> None:
    result = batches(
        texts,
        size,
        in_flight,
        generate_arrivals("poisson:rate=12,seconds=4", seed),
        cache=CacheModel(kind=kind, rate=0.4, texts=30),
        pod_failures=failures,
        predictor={"queue_tokens": queue_tokens},
        timeout_s=3.0,
        seed=seed,
    )
    assert (result.latencies >= 0).all()
    assert set(statuses(result)) <= {*map(int, Status)}
    assert result.snapshots[-1].in_flight == 0 or not result.answered().all()


def at(*times: float, seconds: float = 0.0) -> Trace:
    return Trace(times=np.array(times), seconds=seconds or max(times) + 1.0)


def statuses(result: SimulationResult) -> list[int]:
    values: list[int] = result.statuses.tolist()
    return values


def test_one_request_takes_what_the_profile_says() -> None:
    result = simulate(scenario(fixed(1), overhead_s=0.005), at(0.5))
    assert statuses(result) == [Status.OK]
    assert result.caller_latencies().tolist() == [pytest.approx(ALONE_S + 0.005)]


def test_the_activator_holds_what_the_pods_have_no_room_for() -> None:
    result = simulate(scenario(fixed(1, concurrency=1)), at(0.5, 0.5, 0.5))
    assert result.latencies.tolist() == [pytest.approx(n * ALONE_S) for n in (1, 2, 3)]


def test_a_pod_without_a_limit_batches_what_comes() -> None:
    result = simulate(scenario(fixed(1, concurrency=0)), at(0.5, 0.501, 0.502))
    assert max(result.latencies) < 2 * ALONE_S


def test_beyond_the_activators_queue_the_answer_is_503() -> None:
    result = simulate(scenario(fixed(1, concurrency=1), timeout_s=5.0), at(*[0.5] * 10_100))
    assert statuses(result).count(Status.UNAVAILABLE) == 10_100 - 1 - 10_000
    assert statuses(result).count(Status.TIMEOUT) > 9_000


def test_past_the_activator_a_queue_proxy_holds_ten_times_its_concurrency() -> None:
    # target-burst-capacity 0: the activator is out of the path while there are pods
    result = simulate(
        scenario(fixed(1, concurrency=1, target_burst_capacity="0")), at(*[4.5] * 20, seconds=9.0)
    )
    assert result.snapshots[3].activator_in_path is False
    assert statuses(result).count(Status.UNAVAILABLE) == 20 - 1 - 10
    assert statuses(result).count(Status.OK) == 11


def test_the_predictors_own_queue_answers_429() -> None:
    result = simulate(
        scenario(fixed(1, concurrency=0), predictor={"queue_tokens": 65, "slots": 1}), at(*[0.5] * 5)
    )
    # reserved: 10 and 2 * 11, as answers may be twice as long
    assert sorted(statuses(result)) == [Status.OK, Status.OK, Status.OK, Status.TOO_MANY, Status.TOO_MANY]


def test_a_caller_that_waited_long_enough_gets_504_at_that_moment() -> None:
    result = simulate(scenario(fixed(1, concurrency=1), timeout_s=0.25), at(0.5, 0.5, 0.5, 0.5))
    assert statuses(result)[:2] == [Status.OK, Status.OK]
    assert statuses(result)[2:] == [Status.TIMEOUT, Status.TIMEOUT]
    assert result.latencies.tolist()[2:] == [pytest.approx(0.25)] * 2
    assert result.summary().errors_504 == 2


def test_a_service_at_zero_starts_a_pod_for_its_first_request() -> None:
    service = scenario(scaling(min_scale="0"), predictor={"initial_pods": 0})
    result = simulate(service, at(100.5))
    (latency,) = result.latencies
    assert latency == pytest.approx(1.0 + 2.0 + 5.0 + ALONE_S, abs=0.01)
    assert statuses(result) == [Status.OK]


def test_a_gap_in_the_trace_lets_the_service_go_to_zero_and_come_back() -> None:
    result = simulate(scenario(scaling(min_scale="0")), at(0.5, 300.5))
    ready = {snapshot.time: snapshot.ready for snapshot in result.snapshots}
    assert (ready[30.0], ready[290.0]) == (1, 0)
    first, second = result.latencies
    assert first == pytest.approx(ALONE_S)
    assert second == pytest.approx(1.0 + 2.0 + 5.0 + ALONE_S, abs=0.01)  # a tick at once, and a cold start
    # 60 s stable window and 30 s grace, then 10 s of drain, of 301.5 s; and the second pod's start and work
    assert result.slice_seconds < 130


def test_more_load_makes_more_pods_after_a_cold_start() -> None:
    result = simulate(
        scenario(scaling(max_scale="10")),
        generate_arrivals("step:from=5,to=100,at=30,seconds=90", seed=1),
    )
    before = [m for m in result.snapshots if m.time <= 30]
    assert {m.ready for m in before} == {1}
    wanted = next(m.time for m in result.snapshots if m.desired > 1)
    grown = next(m.time for m in result.snapshots if m.ready > 1)
    assert 8.0 <= grown - wanted <= 9.0
    assert max(m.ready for m in result.snapshots) <= 10
    assert any(m.panicking for m in result.snapshots)


def test_pods_wait_for_slices_that_others_hold() -> None:
    result = simulate(
        scenario(scaling(max_scale="10"), slices=3), generate_arrivals("poisson:rate=100,seconds=60", seed=1)
    )
    assert max(m.slices for m in result.snapshots) == 3
    assert max(m.ready for m in result.snapshots) == 3
    assert max(m.desired for m in result.snapshots) == 10


def test_a_pod_that_leaves_keeps_its_slice_until_it_has_drained() -> None:
    service = scenario(scaling(min_scale="1"), predictor={"initial_pods": 3})
    result = simulate(service, at(0.5, seconds=200.0))
    fewer = next(m.time for m in result.snapshots if m.ready == 1)
    held = next(m.time for m in result.snapshots if m.slices == 1)
    assert 9.0 <= held - fewer <= 13.0


def test_a_lost_pod_costs_what_was_in_it_and_comes_back() -> None:
    service = scenario(fixed(2), pod_failures=(10.02,))
    result = simulate(service, generate_arrivals("steady:rate=20,seconds=30", seed=1))
    lost = statuses(result).count(Status.UNAVAILABLE)
    assert 1 <= lost <= 4
    ready = {snapshot.time: snapshot.ready for snapshot in result.snapshots}
    assert (ready[10.0], ready[12.0], ready[20.0]) == (2, 1, 2)


def test_hits_need_no_predictor() -> None:
    cache = CacheModel(kind="rate", rate=1.0)
    result = simulate(scenario(fixed(1), front=True, cache=cache), at(0.5, 0.6))
    assert statuses(result) == [Status.HIT, Status.HIT]
    assert result.summary().hits == 2


def keyed(*keys: int, times: tuple[float, ...]) -> Trace:
    return dataclasses.replace(at(*times), keys=np.array(keys))


def test_an_answer_is_cached_for_its_time_and_equal_requests_share_one() -> None:
    cache = CacheModel(kind="keys", ttl_s=2.0)
    trace = keyed(1, 1, 2, 1, 1, times=(0.5, 0.55, 0.55, 1.0, 3.0))
    result = simulate(scenario(fixed(1), front=True, cache=cache), trace)
    assert statuses(result) == [Status.OK, Status.SHARED, Status.OK, Status.HIT, Status.OK]
    first, shared = result.latencies[:2]
    assert shared == pytest.approx(first - 0.05)


def test_the_failure_of_the_one_that_leads_is_everyones() -> None:
    cache = CacheModel(kind="keys")
    service = scenario(fixed(1, concurrency=0), front=True, cache=cache, predictor={"queue_tokens": 1})
    assert statuses(simulate(service, keyed(1, 1, times=(0.5, 0.5)))) == [Status.TOO_MANY, Status.TOO_MANY]


def test_a_transformer_takes_one_request_after_the_other() -> None:
    service = dataclasses.replace(
        scenario(fixed(1), front=True, cache=CacheModel(kind="rate", rate=1.0)),
        transformer=TransformerService(fixed(1, 0), TransformerModel(hit_seconds=0.1)),
    )
    result = simulate(service, at(0.5, 0.5, 0.5))
    assert result.latencies.tolist() == [pytest.approx(n * 0.1) for n in (1, 2, 3)]


def test_requests_that_find_no_connection_to_the_predictor_get_429_in_time() -> None:
    model = TransformerModel(0.0, 0.0, max_connections=1, pool_timeout_s=0.15)
    service = dataclasses.replace(
        scenario(fixed(1), front=True), transformer=TransformerService(fixed(1, 0), model)
    )
    result = simulate(service, at(0.5, 0.5, 0.5, 0.5))
    assert sorted(statuses(result)) == [Status.OK, Status.OK, Status.TOO_MANY, Status.TOO_MANY]


def test_a_canary_gets_its_share_and_its_own_pods() -> None:
    stable = scenario(fixed(1)).predictors[0]
    slow = profile(name="slow", request_overhead_seconds=1.0)
    both = (
        dataclasses.replace(stable, share=0.9),
        dataclasses.replace(stable, name="canary", share=0.1, profile=slow),
    )
    service = dataclasses.replace(scenario(fixed(1)), predictors=both)
    result = simulate(service, generate_arrivals("poisson:rate=2,seconds=500", seed=1))
    assert (result.latencies > 1.0).mean() == pytest.approx(0.1, abs=0.03)
    assert result.snapshots[0].ready == 2


def test_the_numbers_of_a_run_add_up() -> None:
    service = scenario(
        scaling(max_scale="3"), front=True, timeout_s=3.0, price_per_slice_hour=2.0,
        cache=CacheModel(kind="zipf", texts=200, exponent=1.0), slo_s=0.5,
    )  # fmt: skip
    result = simulate(service, generate_arrivals("poisson:rate=80,seconds=60", seed=2))
    summary = result.summary()
    failed = summary.errors_429 + summary.errors_503 + summary.errors_504
    assert summary.requests == summary.served + failed == len(result.workload)
    assert summary.p50 is not None
    assert summary.p99 is not None
    assert summary.p50 <= summary.p99 <= 3.0
    assert summary.goodput == pytest.approx(result.within_slo().mean())
    windows = result.time_series(5.0)
    assert (windows.arrivals * 5).sum() == pytest.approx(summary.requests)
    assert (windows.failed * 5).sum() == pytest.approx(failed)
    assert (windows.within_slo * 5).sum() == pytest.approx(result.within_slo().sum())
    assert summary.cost_per_million_chars == pytest.approx(
        summary.slice_hours * 2.0 / (summary.served * 10) * 1e6
    )


def test_equal_inputs_give_equal_outcomes_and_another_seed_others() -> None:
    def run(seed: int) -> list[float]:
        service = scenario(scaling(0, max_scale="4"), seed=seed, traffic=Traffic())
        result = simulate(service, generate_arrivals("poisson:rate=40,seconds=30", seed=5))
        latencies: list[float] = result.latencies.tolist()
        return latencies

    assert run(1) == run(1)
    assert run(1) != run(2)


@settings(max_examples=25)
@given(
    rate=st.integers(1, 150),
    concurrency=st.integers(0, 6),
    pods=st.integers(0, 4),
    most=st.integers(1, 6),
    timeout=st.floats(0.3, 5.0),
    burst=st.sampled_from(["0", "-1", "20"]),
    share=st.floats(0.0, 1.0),
)
def test_every_request_ends_once_and_in_time(
    rate: int, concurrency: int, pods: int, most: int, timeout: float, burst: str, share: float
) -> None:
    service = scenario(
        scaling(
            concurrency,
            min_scale=str(min(pods, most)),
            max_scale=str(most),
            target_burst_capacity=burst,
        ),
        front=True,
        timeout_s=timeout,
        cache=CacheModel(kind="rate", rate=share),
        pod_failures=(7.0,),
    )
    result = simulate(service, generate_arrivals(f"bursts:rate={rate},burst=200,every=6,for=1,seconds=20", 1))
    assert set(statuses(result)) <= {0, 200, 429, 503, 504}
    assert (result.latencies <= timeout + 1e-6).all()
    assert ((result.latencies > 0) | (result.statuses != Status.OK)).all()
    assert all(m.ready <= max(most, pods) for m in result.snapshots)


@pytest.mark.untraced
def test_a_million_requests_take_seconds() -> None:
    # A sixth of a million here: it takes 0.6 s where this was written, and the goal is 30 s for all of them.
    measured: PredictorProfile = load_profile("7b-h200-full-float16")
    service = scenario(
        fixed(4, concurrency=128), front=True, predictor={"profile": measured}, traffic=Traffic()
    )
    trace = generate_arrivals("poisson:rate=1500,seconds=111", seed=1)
    started = time.process_time()
    result = simulate(service, trace)
    assert time.process_time() - started < 5.0
    assert result.summary().served == len(trace)


def test_the_autoscaler_sees_the_concurrency_that_there_is() -> None:
    # Little's law: requests in flight are their rate times their time.
    result = simulate(
        scenario(scaling(4, target="1")), generate_arrivals("steady:rate=30,seconds=300", seed=1)
    )
    late = result.workload.times > 200
    in_flight = 30 * float(result.latencies[late].mean())
    wanted = {m.desired for m in result.snapshots if 200 < m.time < 300}
    assert wanted <= {math.ceil(in_flight / 0.7) + d for d in (-1, 0, 1)}
    assert len(wanted) <= 2


def far_apart(requests: int) -> Trace:
    return at(*(0.5 + 0.5 * n for n in range(requests)))


def test_on_a_node_of_its_own_a_request_takes_what_it_takes_anywhere() -> None:
    alone = scenario(fixed(1), front=True)
    shared = dataclasses.replace(alone, node=Node(cores=1))
    assert simulate(shared, far_apart(3)).latencies == pytest.approx(simulate(alone, far_apart(3)).latencies)


def test_predictors_on_one_core_take_turns() -> None:
    two = scenario(fixed(2, concurrency=1), node=Node(cores=1))
    assert simulate(two, at(0.5, 0.5)).latencies == pytest.approx([2 * ALONE_S] * 2, abs=2 * 0.004)
    assert simulate(dataclasses.replace(two, node=Node(cores=2)), at(0.5, 0.5)).latencies == pytest.approx(
        [ALONE_S] * 2
    )


def test_a_proxy_on_the_node_costs_every_hop() -> None:
    without = scenario(fixed(1), front=True, node=Node(cores=1))
    over = dataclasses.replace(without, node=Node(cores=1, hop_seconds=0.003))
    more = simulate(over, far_apart(2)).latencies - simulate(without, far_apart(2)).latencies
    assert more == pytest.approx([2 * 0.003] * 2)  # caller to transformer, transformer to predictor


def test_slow_cores_make_a_request_take_longer() -> None:
    slow = scenario(fixed(1), node=Node(cores=1, speeds=CoreSpeeds((1.0, 0.5), 1.0)))
    assert simulate(slow, at(0.5, 1.5)).latencies == pytest.approx([ALONE_S, 2 * ALONE_S], rel=0.01)


def test_other_processes_of_the_node_make_a_request_take_longer() -> None:
    busy = scenario(fixed(1), node=Node(cores=1, others=BusyCores((0.5, 0.0), 2.0)))
    assert simulate(busy, at(0.5, 2.5)).latencies == pytest.approx([2 * ALONE_S, ALONE_S], abs=0.02)


@settings(max_examples=30)
@given(
    rate=st.floats(1.0, 60.0),
    pods=st.integers(1, 3),
    cores=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_every_request_on_a_shared_node_ends_once_and_cores_for_all_threads_are_as_good_as_own_ones(
    rate: float, pods: int, cores: int, seed: int
) -> None:
    trace = generate_arrivals(f"poisson:rate={rate},seconds=4", seed)
    own = scenario(fixed(pods, concurrency=0), front=True, timeout_s=3.0)
    few = simulate(dataclasses.replace(own, node=Node(cores, hop_seconds=0.001)), trace)
    assert all(status in tuple(Status) for status in statuses(few))
    assert len(few.latencies) == len(trace)
    # A thread for the transformer, two for each predictor.
    enough = simulate(dataclasses.replace(own, node=Node(1 + 2 * pods)), trace)
    assert enough.latencies == pytest.approx(simulate(own, trace).latencies, abs=1e-6)


def test_a_transformer_that_cannot_keep_up_ends_every_request() -> None:
    slow = TransformerService(fixed(1, 0), TransformerModel(0.0, 0.050))
    result = simulate(
        dataclasses.replace(scenario(fixed(4, 0), front=True, timeout_s=2.0), transformer=slow),
        generate_arrivals("steady:rate=100,seconds=20", 0),
    )
    assert statuses(result).count(Status.TIMEOUT) > 1500
    assert max(result.latencies) <= 2.0 + 1e-9


def test_a_text_longer_than_a_slot_is_refused_at_once_and_counted() -> None:
    long = Trace(
        times=np.array([0.5, 0.6]),
        seconds=2.0,
        prompt_tokens=np.array([10, 200]),
        new_tokens=np.array([11, 57]),
    )
    for front in (False, True):
        result = simulate(scenario(fixed(1), front=front, overhead_s=0.004), long)
        assert statuses(result) == [Status.OK, Status.TOO_LONG]
        assert result.caller_latencies()[1] == pytest.approx(0.004)
        summary = result.summary()
        assert (summary.served, summary.errors_413) == (1, 1)


def test_no_answer_is_later_than_the_timeout() -> None:
    waits = simulate(
        scenario(fixed(1, concurrency=1), timeout_s=3 * ALONE_S, overhead_s=0.004), at(*[0.5] * 4)
    )
    assert statuses(waits) == [Status.OK, Status.OK, Status.TIMEOUT, Status.TIMEOUT]
    assert waits.caller_latencies().tolist()[2:] == [pytest.approx(3 * ALONE_S)] * 2


def test_each_of_two_revisions_has_its_own_numbers() -> None:
    base = scenario(fixed(4), front=True, cache=CacheModel(kind="rate", rate=0.3))
    assert simulate(base, at(0.5)).summary().revisions == ()
    (stable,) = base.predictors
    slow = profile(name="slow", prefill_seconds_per_token=0.05)
    both = dataclasses.replace(
        base,
        predictors=(
            dataclasses.replace(stable, share=0.75),
            dataclasses.replace(stable, name="canary", profile=slow, share=0.25),
        ),
    )
    summary = simulate(both, generate_arrivals("steady:rate=10,seconds=60", seed=0)).summary()
    first, second = summary.revisions
    assert (first.name, second.name) == ("predictor", "canary")
    assert first.served + second.served == summary.served - summary.hits
    assert second.requests == pytest.approx(0.25 * 0.7 * 600, rel=0.3)
    assert first.p50 is not None
    assert second.p50 is not None
    assert second.p50 > first.p50 + 0.3
    assert [revision["name"] for revision in summary.to_json()["revisions"]] == ["predictor", "canary"]


def test_windows_fill_the_whole_time() -> None:
    result = simulate(scenario(fixed(4)), generate_arrivals("steady:rate=10,seconds=25", seed=0))
    for seconds in (1.0, 2.0, 3.7, 60.0):
        windows = result.time_series(seconds)
        assert windows.arrivals.tolist() == pytest.approx([10.0] * len(windows.times), abs=1.0)
        assert windows.times[-1] < 25
