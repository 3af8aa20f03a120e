from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.transformer_stages import figures
from benchmarks.transformer_stages.job import FAILED, Outcome, RequestSample
from benchmarks.transformer_stages.setting import require_all


def sample(
    status: int = 200, *, start_s: float = 0.0, latency_s: float = 0.01, mark: int = -1
) -> RequestSample:
    return RequestSample(0, status, start_s, 0.0, latency_s, latency_s, mark)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_percentiles_are_those_of_numpy_by_nearest_rank(values: list[float], share: float) -> None:
    expected = np.percentile(values, 100 * share, method="inverted_cdf")

    # Where share times the number of values is a whole number but for rounding, either neighbour may come out.
    near = {figures.percentile(values, min(1.0, share * (1 + slack))) for slack in (-1e-12, 0, 1e-12)}
    assert expected in near


def test_the_percentile_of_nothing_is_unknown() -> None:
    assert math.isnan(figures.percentile([], 0.5))


def test_a_request_without_a_translation_is_slower_than_all_others() -> None:
    samples = [sample(latency_s=0.001 * number) for number in range(1, 99)]
    samples += [sample(429, latency_s=0.0001), sample(504, latency_s=3.0)]

    assert figures.spread_ms(samples) == {
        "p50_ms": pytest.approx(50.0),
        "p95_ms": pytest.approx(95.0),
        "p99_ms": None,
    }


def test_fates_add_up() -> None:
    statuses = [200, 200, 429, 504, 504, 504, FAILED, 500, 503]

    assert figures.fates([sample(status) for status in statuses]) == {
        "ok": 2,
        "refused": 1,
        "too_late": 3,
        "unanswered": 1,
        "other": 2,
    }


def test_a_rate_counts_the_answers_that_came_within_the_time() -> None:
    ends = (0.1, 0.6, 1.0, 1.9, 2.0, 2.5)
    answered = [sample(start_s=end - 0.01) for end in ends]
    outcome = Outcome((*answered, sample(500, start_s=1.2)), 2.5, 0.1)

    assert figures.rate(outcome, 2.0, 0.5) == pytest.approx(3 / 1.5)


def test_an_answer_after_the_callers_patience_is_too_late_and_a_refusal_stays_one() -> None:
    samples = (sample(latency_s=2.9), sample(latency_s=3.1), sample(429, latency_s=4.0))

    outcome = figures.within(Outcome(samples, 5.0, 0.1), 3.0)

    assert [each.status for each in outcome.samples] == [200, 504, 429]
    assert [each.latency_s for each in outcome.samples] == [2.9, 3.1, 4.0]


def test_ratios_are_of_what_was_measured_beside_each_other() -> None:
    # The machine halved its speed in the second round: the ratio of the medians would be 1.5.
    assert figures.middle_ratio([300.0, 100.0, 300.0], [100.0, 200.0, 100.0]) == 3.0


@pytest.mark.parametrize(
    "samples",
    [(), (sample(mark=0), sample(503, mark=0)), (sample(mark=0), sample(mark=1))],
    ids=["nothing", "an error", "a miss among hits"],
)
def test_a_load_in_which_something_else_happened_makes_no_figures(samples: tuple[RequestSample, ...]) -> None:
    with pytest.raises(SystemExit, match="not what was to be measured"):
        require_all(Outcome(samples, 1.0, 0.1), "hits", mark=0)
