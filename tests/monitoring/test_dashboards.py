"""Every query of the dashboards and rules over a real Prometheus that has read a real service under a known load.

Its clock is made short: ranges of queries and `for` of alerts are divided by
:data:`tests.monitoring.known_load.FACTOR`.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.monitoring.component import filled, panels, rule_groups, shortened_query
from benchmarks.monitoring.prometheus import QueryFailed, Sample
from serving.metrics import LATENCY_BUCKETS
from tests.inferenceservices.promql import Selector, selectors
from tests.monitoring.known_load import (
    AGAIN,
    EARLY,
    FACTOR,
    HASTY,
    LATE,
    MISSES,
    NAMESPACE,
    SLOTS,
    STREAMS,
    UNKNOWN,
    WITHOUT_REDIS,
    Observed,
    observed_load,
)

WINDOW_S = 240
"""Of rates: longer than the load takes, so that a rate times this is the number of events."""
ELSEWHERE = {
    "kube_": "kube-state-metrics",
    "kn_revision_": "Knative's autoscaler",
    "DCGM_": "NVIDIA's DCGM exporter",
    "redis_": "redis exporter",
}
"""Programs whose metrics some queries need, by the beginning of the names."""
PANELS = [(panel, legend, query) for panel in panels() for legend, query in panel.queries]
RULES = [rule for group in rule_groups() for rule in group["rules"]]
ERRORS = "namespace:yiwen_request_errors"
ANSWERED = MISSES + AGAIN + STREAMS + WITHOUT_REDIS


@pytest.fixture(scope="module")
def seen(random_release_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    if shutil.which("prometheus") is None:
        missing = "prometheus is not installed: apt-get install prometheus"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with observed_load(random_release_dir, tmp_path_factory.mktemp("load")) as seen:
        yield seen


def of_the_load(query: str) -> str:
    """A panel's query as Prometheus gets it here."""
    return shortened_query(filled(query, namespace=NAMESPACE, window=f"{WINDOW_S * FACTOR:.0f}s"), FACTOR)


def asked(seen: Observed, question: str, **labels: str) -> float:
    """The value of a panel's line; a legend that names no label is given as ``legend``."""
    legend = labels.pop("legend", None)
    (query,) = (
        query for panel, name, query in PANELS if panel.question == question and legend in (None, name)
    )
    return one_of(seen.prometheus.query(of_the_load(query), seen.at), labels)


def one_of(samples: list[Sample], labels: Mapping[str, str]) -> float:
    (found,) = (each.value for each in samples if labels.items() <= each.labels.items())
    return found


def needs(query: str) -> set[str]:
    """Programs beside the service whose metrics a query asks for."""
    names = [selector.name for selector in selectors(query)]
    return {program for start, program in ELSEWHERE.items() for name in names if name.startswith(start)}


@pytest.mark.parametrize(
    ("panel", "legend", "query"), PANELS, ids=lambda each: getattr(each, "question", None)
)
def test_a_panel_has_data_or_needs_what_is_not_here(
    seen: Observed, panel: object, legend: str, query: str
) -> None:
    samples = seen.prometheus.query(of_the_load(query), seen.at)
    assert bool(samples) == (needs(query) <= seen.programs)
    assert all(not math.isnan(sample.value) for sample in samples)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_is_evaluated_and_what_it_selects_is_there(seen: Observed, rule: Mapping[str, str]) -> None:
    (evaluated,) = (
        each for each in seen.prometheus.rules() if each["name"] in (rule.get("alert"), rule.get("record"))
    )
    assert (evaluated["health"], evaluated.get("lastError", "")) == ("ok", "")
    if needs(rule["expr"]) <= seen.programs:
        missing = [s for s in selectors(rule["expr"]) if not seen.prometheus.query(text_of(s), seen.at)]
        assert missing == []


def text_of(selector: Selector) -> str:
    conditions = (f'{matcher.label}{matcher.operator}"{matcher.value}"' for matcher in selector.matchers)
    return f"{selector.name}{{{','.join(conditions)}}}"


def test_a_query_that_is_wrong_is_told(seen: Observed) -> None:
    with pytest.raises(QueryFailed, match="parse error"):
        seen.prometheus.query("sum(")


def counted(rate: float) -> float:
    """Events behind a rate over the window; extrapolation to its ends adds a little, so that bounds are wide."""
    return rate * WINDOW_S


def about(number: float) -> object:
    return pytest.approx(number, rel=0.15, abs=0.01)


def test_requests_and_errors_are_those_that_were_sent(seen: Observed) -> None:
    assert seen.statuses == {200: ANSWERED, 404: UNKNOWN, 429: HASTY, 504: LATE}
    api = "How many requests come, and by which API?"
    # These count from 0, so that what came before the load is in them.
    assert counted(asked(seen, api, endpoint="generate_stream")) == about(STREAMS + 1)
    infer = sum(seen.statuses.values()) - STREAMS + seen.before - 1
    assert counted(asked(seen, api, endpoint="infer")) == about(infer)
    errors = "Which errors are answered?"
    assert counted(asked(seen, errors, code="language_unknown", status="404")) == about(UNKNOWN + 1)
    assert counted(asked(seen, errors, code="rate_limited", status="429")) == about(HASTY + 1)
    assert counted(asked(seen, errors, code="deadline_exceeded", status="504")) == about(LATE)
    limits = "Whose requests are over their limit?"
    assert counted(asked(seen, limits, caller="hasty", reason="rate")) == about(HASTY)
    requests = sum(seen.statuses.values()) + seen.before
    # The rule's expression, since what it has recorded may be of the reading before the last one.
    (failing,) = (rule["expr"] for rule in RULES if rule.get("record") == f"{ERRORS}:ratio_rate1d")
    share = seen.prometheus.value(shortened_query(failing, FACTOR), seen.at)
    assert share == pytest.approx(LATE / requests, rel=0.15)


def test_the_cache_and_the_callers_are_those_of_the_load(seen: Observed) -> None:
    share = asked(seen, "Which share of texts comes from the cache?", source="en", target="zh")
    assert 0 < seen.texts["hit"] < AGAIN  # answers that a guard objects to are not kept
    # Of the answers before the load Prometheus has seen those that made a series grow.
    hits = seen.texts["hit"]
    assert 0.95 * hits / (ANSWERED + seen.before) < share < 1.05 * (hits + 1) / ANSWERED
    characters = "Who sends how many characters?"
    assert counted(asked(seen, characters, caller="shop")) == about(seen.characters)
    languages = "Which languages are translated?"
    assert counted(asked(seen, languages, source="en", target="zh")) == about(seen.characters)
    hours = (seen.prometheus.value("time() - min(process_start_time_seconds)", seen.at)) / 60
    cost = asked(seen, "What does a million characters cost?")
    assert 0 < cost < 2 * hours / seen.characters * 1e6


def test_pods_and_slots_are_those_that_run(seen: Observed) -> None:
    for component in ("transformer", "predictor"):
        assert asked(seen, "Is it up?", component=component) == 1
    full = "Are the slots full?"
    assert [asked(seen, full, legend=legend) for legend in ("slots", "used", "waiting")] == [SLOTS, 0, 0]
    assert asked(seen, "How many replicas does KEDA's query ask for?") == 0
    assert asked(seen, "What executes the model?", backend="onnxruntime") == 1
    assert asked(seen, "Which share of requests goes to each release?") == 1
    assert asked(seen, "Do transformers find predictors of their release?") == 1
    assert counted(asked(seen, "How do these waits end?", result="released")) == about(EARLY)
    assert asked(seen, "How long does a start take, by phase?", component="predictor", phase="load") > 0


def test_latencies_are_those_that_callers_saw(seen: Observed) -> None:
    quantiles = [asked(seen, "How long do answers take?", legend=f"{share} %") for share in (50, 95, 99)]
    assert quantiles == sorted(quantiles)
    longest = next(bound for bound in LATENCY_BUCKETS if bound >= max(seen.seconds))
    assert 0 < quantiles[-1] <= longest
    time_of = "Where does the time of a request go?"
    predictor = asked(seen, time_of, legend="predictor, its queue included")
    assert asked(seen, time_of, legend="tokenize") < predictor


def test_sequences_and_tokens_are_those_of_the_misses(seen: Observed) -> None:
    ends = seen.prometheus.query(of_the_load(query_of("How do sequences end?")), seen.at)
    # Of the answers before the load one was a hit. Late ones may be among the sequences.
    least = seen.texts["miss"] + STREAMS + seen.before - 1
    assert least <= counted(sum(each.value for each in ends)) * 1.02 <= (least + LATE + 1) * 1.15
    tokens = "How many tokens a second?"
    assert asked(seen, tokens, kind="prompt") > 0 < asked(seen, tokens, kind="generated")


def query_of(question: str) -> str:
    (query,) = (query for panel, _, query in PANELS if panel.question == question)
    return query


def test_redis_did_not_answer_while_it_stood_still(seen: Observed) -> None:
    errors = seen.prometheus.query(of_the_load(query_of("Which commands does Redis not answer?")), seen.at)
    assert {each.labels["kind"] for each in errors} <= {"timeout", "slow", "connection"}
    assert sum(each.value for each in errors) > 0
    states = seen.prometheus.query(of_the_load(query_of("Is Redis used?")), seen.at)
    assert sum(each.value for each in states) == 1


def test_nothing_fires_after_a_short_trouble(seen: Observed) -> None:
    assert seen.prometheus.firing(NAMESPACE) <= {
        "YiwenErrorBudgetBurnsFast", "YiwenErrorBudgetBurnsSlowly", "YiwenGuardsObject", "YiwenRedisWritesLost"
    }  # fmt: skip
