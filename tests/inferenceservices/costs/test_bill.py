"""Bills from given use and prices, and use from given log lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from inferenceservices.costs.bill import PROMPT_TOKEN_COST, make_bill
from inferenceservices.costs.prices import POD_HOURS, one_price, parse_prices
from inferenceservices.costs.prometheus_use import UseQueries, histogram_quantile, slice_of
from inferenceservices.costs.request_log import RequestLog
from inferenceservices.costs.usage import CostError, PodUse, ServiceUse, TrafficUse

HOUR = 3600.0
PAIRS = {
    "en-zh": TrafficUse(100, 60, 6000, 3600, prompt_tokens=2000, generated_tokens=1700),
    "zh-en": TrafficUse(50, 0, 4000, 0),
    "en-fr": TrafficUse(50, 40, 3000, 2400, prompt_tokens=1000, generated_tokens=850),
}
PODS = (
    PodUse("p1", "predictor", 2 * HOUR, 1 * HOUR, "1g.18gb", "a3"),
    PodUse("p2", "predictor", 1 * HOUR, 0.5 * HOUR, "1g.18gb", "a3"),
    PodUse("p3", "predictor", 1 * HOUR, 0.1 * HOUR, "full", "a3"),
    PodUse("t1", "transformer", 2 * HOUR),
)
USE = ServiceUse(2 * HOUR, PODS, PAIRS, {"shop": TrafficUse(characters=6500)})
PRICES = """
currency: EUR
prices:
  - {slice: 1g.18gb, node: a3, per_hour: 0.5}
  - {slice: full, per_hour: 3.5}
  - {component: transformer, per_hour: 0.05}
"""


def test_pods_are_paid_for_by_slice_and_node_and_idle_ones_too() -> None:
    bill = make_bill(USE, parse_prices(PRICES, "prices.yaml"))
    costs = [(each.component, each.slice, each.pods, each.hours, each.cost) for each in bill.pods]
    assert costs == [
        ("predictor", "1g.18gb", 2, 3.0, 1.5),
        ("predictor", "full", 1, 1.0, 3.5),
        ("transformer", "", 1, 2.0, pytest.approx(0.1)),
    ]
    assert [each.idle_share for each in bill.pods] == [0.5, 0.9, None]
    assert bill.idle_cost == pytest.approx(1.5 * 0.5 + 3.5 * 0.9)
    assert bill.total.cost == pytest.approx(5.1)
    assert bill.per_hour == pytest.approx(2.55)
    assert bill.total.per_million == pytest.approx(5.1 / 13_000 * 1e6)


def test_pairs_share_the_cost_by_their_tokens_and_a_cached_pair_costs_nothing() -> None:
    bill = make_bill(USE, one_price(1.0))
    by_name = {each.name: each for each in bill.pairs}
    assert [each.name for each in bill.pairs] == ["en-zh", "en-fr", "zh-en"]
    assert by_name["en-zh"].cost == pytest.approx(2 * by_name["en-fr"].cost)
    assert by_name["zh-en"].cost == 0
    assert sum(each.cost for each in bill.pairs) == pytest.approx(bill.total.cost) == pytest.approx(4.0)
    assert by_name["en-zh"].per_million == pytest.approx(4.0 * 2 / 3 / 6000 * 1e6)
    assert by_name["en-zh"].use.hit_share == pytest.approx(0.4)


def test_a_prompt_token_counts_for_less_than_a_generated_one() -> None:
    pairs = {
        "a": TrafficUse(1, 1, 10, 10, prompt_tokens=100, generated_tokens=10),
        "b": TrafficUse(1, 1, 10, 10, prompt_tokens=0, generated_tokens=10 + 100 * PROMPT_TOKEN_COST),
    }
    first, second = make_bill(ServiceUse(HOUR, PODS[:1], pairs), POD_HOURS).pairs
    assert first.cost == pytest.approx(second.cost)


def test_callers_of_whom_only_characters_are_known_share_by_characters() -> None:
    (shop,) = make_bill(USE, one_price(1.0)).callers
    assert shop.cost == pytest.approx(4.0 * 6500 / 13_000)


def test_a_predictor_without_a_price_is_named() -> None:
    with pytest.raises(CostError, match=r"no price for the predictor p3 \(slice full, node type a3\)"):
        make_bill(USE, parse_prices("prices: [{slice: 1g.18gb, per_hour: 1}]", "p"))
    assert make_bill(USE, POD_HOURS).total.cost == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "p.yaml is not YAML"),
        ("prices: []", "p.yaml.prices must be at least 1 long"),
        ("prices: [{per_hour: -1}]", r"per_hour is -1.*, it must be at least 0"),
        ("prices: [{hour: 1}]", "unknown field hour"),
        ("prices: [{per_hour: 1, component: redis}]", "must be one of predictor, transformer"),
    ],
)
def test_prices_that_are_wrong_say_what(text: str, message: str) -> None:
    with pytest.raises(CostError, match=message):
        parse_prices(text, "p.yaml")


def line(component: str, ts: str, **fields: Any) -> str:
    return json.dumps(
        {"ts": f"2026-11-29T{ts}+00:00", "message": "request", "component": component, **fields}
    )


ANSWERED = {
    "status": 200, "duration_ms": 500.0, "texts": 3, "characters": 90, "pair": "en-zh", "caller": "shop",
    "hit": 1, "miss": 2, "prompt_tokens": 40, "generated_tokens": 30,
}  # fmt: skip


def test_log_lines_add_up_to_use_by_pair_caller_and_pod() -> None:
    log = RequestLog()
    log.add(
        [
            line("transformer", "10:00:01.000", **ANSWERED),
            "2026-11-29T10:00:02Z stdout F "
            + line("transformer", "10:00:02.000", **ANSWERED, endpoint="infer"),
            line("transformer", "10:00:03.000", **{**ANSWERED, "pair": "zh-en", "caller": "other"}),
            line("transformer", "10:00:04.000", status=503, duration_ms=10, texts=1),
            "Traceback (most recent call last):",
        ],
        "t.log",
    )
    log.add(
        [
            line("predictor", "10:00:00.900", duration_ms=400.0),
            line("predictor", "10:00:01.000", duration_ms=400.0),  # overlaps: 0.5 s together
            line("predictor", "10:00:02.500", duration_ms=500.0),
            line("predictor", "10:00:10.500", message="drained"),
        ],
        "p.log",
    )
    use = log.use(slice_name="full")
    assert log.ignored == 1
    assert use.pairs["en-zh"] == TrafficUse(6, 4, 180, 120, 80, 60)
    assert use.callers["other"] == TrafficUse(3, 2, 90, 60, 40, 30)
    assert use.requests == 3
    predictor = next(pod for pod in use.pods if pod.component == "predictor")
    assert (predictor.name, predictor.slice) == ("p.log (predictor)", "full")
    assert predictor.seconds == pytest.approx(10.0)
    assert predictor.busy_seconds == pytest.approx(1.0)
    assert use.p99_s == pytest.approx(0.5)
    assert use.peak_predictors == 1
    assert use.seconds == pytest.approx(10.0)


def test_a_pipelines_pod_names_count_and_the_busiest_five_minutes_of_a_long_log() -> None:
    log = RequestLog()
    quiet = [line("transformer", f"{10 + n // 60:02}:{n % 60:02}:00.000", **ANSWERED) for n in range(120)]
    busy = [line("transformer", "11:07:30.000", **ANSWERED)] * 595
    log.add([*quiet, *busy], "t")
    for pod in ("a", "b"):
        for at in ("10:00:00.000", "12:00:00.000"):
            log.add([line("predictor", at, duration_ms=1.0, kubernetes={"pod_name": pod})], "export")
    use = log.use()
    assert use.peak_requests_per_s == pytest.approx((595 + 5) / 300)
    assert [pod.name for pod in use.pods if pod.component == "predictor"] == [
        "a (predictor)",
        "b (predictor)",
    ]
    assert use.peak_predictors == 2


def test_the_number_of_predictors_may_be_said() -> None:
    log = RequestLog()
    log.add([line("transformer", f"10:00:0{n}.000", **ANSWERED) for n in range(9)], "t")
    with pytest.raises(CostError, match="say how many there were with --pods"):
        log.use()
    use = log.use(pods=3)
    assert [pod.seconds for pod in use.pods if pod.component == "predictor"] == [use.seconds] * 3


def test_what_holds_no_request_or_no_time_says_so() -> None:
    with pytest.raises(CostError, match="YIWEN_LOG_FORMAT=json"):
        RequestLog().use()
    with pytest.raises(CostError, match="'yesterday', which is not ISO 8601"):
        RequestLog().add(['{"component": "predictor", "ts": "yesterday"}'], "p")


def test_lines_before_the_span_are_left_out() -> None:
    log = RequestLog(since_s=1795946402.0)  # 10:00:02
    log.add([line("transformer", f"10:00:0{n}.000", **ANSWERED) for n in range(5)], "t")
    assert log.use(pods=1).requests == 3


@pytest.mark.parametrize(
    ("counts", "quantile"),
    [
        ({}, None),
        ({1.0: 0.0, math.inf: 0.0}, None),
        ({1.0: 0.0, 2.0: 100.0, 4.0: 100.0, math.inf: 100.0}, 1.99),
        ({1.0: 98.0, 2.0: 98.0, 4.0: 100.0, math.inf: 100.0}, 3.0),
        ({1.0: 50.0, 2.0: 60.0, math.inf: 100.0}, 2.0),
        ({4.0: 10.0, 1.0: 10.0, math.inf: 10.0}, 0.99),
    ],
)
def test_the_quantile_of_a_histogram_is_that_of_promql(
    counts: dict[float, float], quantile: float | None
) -> None:
    assert histogram_quantile(0.99, counts) == (None if quantile is None else pytest.approx(quantile))


def test_slices_are_read_as_kube_state_metrics_writes_them() -> None:
    assert slice_of("nvidia_com_mig_1g_18gb") == "1g.18gb"
    assert slice_of("nvidia_com_gpu") == "full"


def test_a_long_span_is_looked_at_in_steps_and_its_peak_by_five_minutes() -> None:
    asked: list[str] = []

    def query(expression: str) -> list[tuple[Mapping[str, str], float]]:
        asked.append(expression)
        labels = {"component": "predictor", "namespace": "n", "pod": "p", "instance": "i"}
        return [(labels, 100.0)] if "sum_over_time" in expression else []

    queries = UseQueries(query, 7 * 86_400, "n")
    (pod,) = queries.use().pods
    assert (queries.step_s, pod.seconds) == (60, 6000.0)
    assert any("[300s]" in each and "[604800s:300s]" in each for each in asked)
    named = [each for each in asked if "kube_node_labels" not in each]
    assert all('namespace="n"' in each for each in named)
    with pytest.raises(CostError, match="saw no predictor in namespace n in the last 60 s"):
        UseQueries(lambda _: [], 60, "n").use()
