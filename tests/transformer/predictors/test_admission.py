from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from protocol.messages import GenerateRequest
from transformer.errors import AdmissionRejected
from transformer.metrics import TransformerMetrics
from transformer.predictors.admission import (
    MAX_RETRY_AFTER_S,
    AdmissionController,
    DrainRate,
    request_tokens,
    retry_after_s,
)
from transformer.predictors.http_responses import RETRY_AFTER_S

NAME = "yiwen_transformer_admissions_total"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(budget: int) -> tuple[AdmissionController, Clock, CollectorRegistry]:
    clock, registry = Clock(), CollectorRegistry()
    return AdmissionController(budget, TransformerMetrics(registry), clock), clock, registry


def test_a_request_costs_its_prompts_and_the_longest_answers_allowed() -> None:
    assert request_tokens(GenerateRequest(((1, 2, 3), (4,)), (10, 20))) == 34


def test_what_does_not_fit_is_refused_and_room_comes_back() -> None:
    admission, _, registry = make(100)
    with admission.admit(60):
        with pytest.raises(
            AdmissionRejected, match="60 of 100 tokens and this request needs up to 41"
        ) as caught:
            with admission.admit(41):
                pass
        assert caught.value.status == 429
        with admission.admit(40):
            assert admission.tokens == 100
    with admission.admit(41):
        assert admission.tokens == 41
    assert admission.tokens == 0
    assert registry.get_sample_value(NAME, {"result": "admitted"}) == 3
    assert registry.get_sample_value(NAME, {"result": "refused"}) == 1


def test_one_callers_flood_leaves_room_for_others() -> None:
    admission, _, _ = make(3_200)
    with admission.admit(2_000, "flood"), admission.admit(400, "flood"):
        with pytest.raises(AdmissionRejected, match="2400 of 2400 tokens"), admission.admit(1, "flood"):
            pass
        with admission.admit(100, "small"), admission.admit(100, "other"):
            with pytest.raises(AdmissionRejected), admission.admit(1, "small"):
                pass  # it has little no longer
        assert admission.tokens == 2_400
    assert admission.tokens == 0


def test_the_first_request_is_taken_on_however_large_it_is() -> None:
    admission, _, _ = make(10)
    with admission.admit(1_000):
        with pytest.raises(AdmissionRejected), admission.admit(1):
            pass


def test_retry_after_is_the_time_that_the_excess_takes_to_drain() -> None:
    admission, clock, registry = make(1_000)
    for _ in range(20):  # 100 tokens in each half second
        with admission.admit(100):
            clock.now += 0.5
    rate = registry.get_sample_value("yiwen_transformer_drain_tokens_per_second")
    assert rate == pytest.approx(200, rel=0.05)
    with admission.admit(1_000), pytest.raises(AdmissionRejected) as caught:
        with admission.admit(800):
            pass
    assert caught.value.retry_after_s == pytest.approx(800 / 200, rel=0.05)


def test_time_without_work_does_not_look_like_slowness() -> None:
    admission, clock, _ = make(1_000)
    for _ in range(10):
        with admission.admit(100):
            clock.now += 0.5
        clock.now += 20.0
    with admission.admit(1_000):
        assert admission.retry_after_s() == pytest.approx(1_000 / 200, rel=0.05)


def test_failures_give_room_back_and_count_for_nothing() -> None:
    admission, clock, _ = make(1_000)

    def fail() -> None:
        with admission.admit(500):
            clock.now += 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert admission.tokens == 0
    assert admission.retry_after_s() == RETRY_AFTER_S


async def test_cancelled_requests_give_their_room_back() -> None:
    admission, _, _ = make(1_000)

    async def work() -> None:
        with admission.admit(100):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(work()) for _ in range(10)]
    await asyncio.sleep(0)
    assert admission.tokens == 1_000
    for task in tasks[:7]:
        task.cancel()
    await asyncio.gather(*tasks[:7], return_exceptions=True)
    assert admission.tokens == 300
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert admission.tokens == 0


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(1, 300), st.floats(0.0, 5.0), st.booleans(), st.booleans()), max_size=40),
)
def test_the_work_under_way_is_never_negative_nor_beyond_the_budget(
    budget: int, events: list[tuple[int, float, bool, bool]]
) -> None:
    admission, clock, _ = make(budget)
    running: list[tuple[int, ExitStack]] = []
    for tokens, passed, enters, fails in events:
        clock.now += passed
        if enters or not running:
            stack = ExitStack()
            if running and admission.tokens + tokens > budget:
                with pytest.raises(AdmissionRejected) as caught:
                    stack.enter_context(admission.admit(tokens))
                assert RETRY_AFTER_S <= (caught.value.retry_after_s or 0.0) <= MAX_RETRY_AFTER_S
            else:
                stack.enter_context(admission.admit(tokens))
                running.append((tokens, stack))
        else:
            _, stack = running.pop(0)
            error_of_work = asyncio.CancelledError() if fails else None
            stack.__exit__(None if error_of_work is None else type(error_of_work), error_of_work, None)
        assert admission.tokens == sum(each for each, _ in running) >= 0
        assert admission.tokens <= budget or len(running) == 1
    for _, stack in running:
        stack.close()
    assert admission.tokens == 0


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1e-3, 1e9), st.floats(1e-3, 1e9))
def test_more_to_drain_never_takes_shorter_and_a_faster_rate_never_longer(
    excess: float, more: float, rate: float, faster: float
) -> None:
    assert retry_after_s(excess, rate) <= retry_after_s(excess + more, rate)
    assert retry_after_s(excess, rate + faster) <= retry_after_s(excess, rate)


@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.booleans(), st.integers(0, 1000)), min_size=1, max_size=30),
    st.integers(0, 29),
    st.integers(0, 1000),
)
def test_more_done_in_the_same_time_is_a_rate_at_least_as_high(
    events: list[tuple[float, bool, int]], place: int, more: int
) -> None:
    def rate(extra: int) -> float:
        state, now = DrainRate(at=0.0), 0.0
        for number, (passed, busy, done) in enumerate(events):
            now += passed
            bonus = extra if number == place % len(events) else 0
            state = state.updated(now, busy=busy, done=done + bonus)
        return state.per_s

    assert 0.0 <= rate(0) <= rate(more)


@given(st.floats(1.0, 10_000.0), st.floats(0.001, 1.0))
def test_a_steady_rate_is_measured_as_it_is(tokens_per_s: float, step_s: float) -> None:
    state = DrainRate(at=0.0)
    for number in range(1, 301):
        state = state.updated(number * step_s, busy=True, done=round(tokens_per_s * 1000))
    exact = round(tokens_per_s * 1000) / step_s
    assert state.per_s == pytest.approx(exact, rel=0.1)
