from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from transformer.metrics import TransformerMetrics
from transformer.predictors.retry_budget import (
    BURST,
    MIN_RETRIES_PER_S,
    RETRY_RATIO,
    RetryBudget,
    RetryKind,
    SharedRetryBudget,
)

EVENTS = st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans(), st.integers(1, 40)), max_size=60)
"""Seconds since the event before, whether it is a retry, and how many at once."""


@given(EVENTS, st.integers(0, 59), st.integers(0, 59))
def test_retries_never_exceed_a_tenth_of_the_requests_and_the_floor_in_any_stretch(
    events: list[tuple[float, bool, int]], start: int, end: int
) -> None:
    budget, now = RetryBudget(), 0.0
    log: list[tuple[float, int, int]] = []
    for passed, is_retry, count in events:
        now += passed
        made = 0
        for _ in range(count):
            after = budget.retried(now) if is_retry else budget.sent(now)
            made += is_retry and after is not None
            budget = after or budget
        log.append((now, 0 if is_retry else count, made))
    stretch = log[min(start, end) : max(start, end) + 1]
    if stretch:
        seconds = stretch[-1][0] - stretch[0][0]
        requests, retries = sum(each[1] for each in stretch), sum(each[2] for each in stretch)
        assert retries <= BURST + MIN_RETRIES_PER_S * seconds + RETRY_RATIO * requests + 1e-6


def test_when_everything_fails_a_tenth_is_sent_twice() -> None:
    budget, retries = RetryBudget(), 0
    for _ in range(10_000):
        budget = budget.sent(0.0)
        after = budget.retried(0.0)
        retries, budget = (retries, budget) if after is None else (retries + 1, after)
    assert 1_000 <= retries <= 1_010


def test_a_quiet_service_gets_its_floor_back() -> None:
    budget, retries = RetryBudget(), 0
    while (after := budget.retried(0.0)) is not None:
        budget, retries = after, retries + 1
    assert retries == BURST
    assert budget.retried(1.0 / MIN_RETRIES_PER_S - 0.1) is None
    assert budget.retried(1.0 / MIN_RETRIES_PER_S + 0.1) is not None


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    budget = RetryBudget(saved=0.5, at=100.0)
    assert budget.retried(50.0) is None
    assert budget.sent(50.0).saved == 0.6


def test_what_is_made_and_what_is_refused_is_counted(
    metrics: TransformerMetrics, registry: CollectorRegistry
) -> None:
    retries = SharedRetryBudget(metrics, clock=lambda: 0.0)
    for _ in range(20):
        retries.sent()
    allowed = [retries.allow(RetryKind.RECONNECT) for _ in range(12)]
    assert allowed == [True] * 10 + [False] * 2

    def count(result: str) -> float | None:
        name = "yiwen_transformer_predictor_retries_total"
        return registry.get_sample_value(name, {"kind": "reconnect", "result": result})

    assert (count("made"), count("refused")) == (10, 2)
