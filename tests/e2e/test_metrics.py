"""The metrics of both services after real requests."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Service
from tests.e2e.test_translate import body, infer
from tests.metric_samples import sample_sum
from tests.promtool import check_queries, complaints_about_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(service: Service) -> dict[str, str]:
    """What both services answer after a miss, a hit, a stream and an error."""
    for _ in range(2):
        infer(service, [f"Metric number {number}" for number in range(8)], target="zh")
    model = f"{service.url}/v2/models/random"
    stream = {"text_input": "Streamed for metrics", "parameters": {"target": "zh"}}
    httpx.post(f"{model}/generate_stream", json=stream, timeout=30).raise_for_status()
    assert httpx.post(f"{model}/infer", json=body(["x"], target="xx")).status_code == 404
    return {
        component: httpx.get(f"{url}/metrics").text
        for component, url in (("transformer", service.url), ("predictor", service.predictor_url))
    }


@pytest.mark.parametrize("component", ["transformer", "predictor"])
def test_promtool_has_nothing_to_say(pages: dict[str, str], component: str) -> None:
    assert complaints_about_metrics(pages[component]) == ""


@pytest.mark.parametrize("component", ["transformer", "predictor"])
def test_each_service_has_the_metrics_of_the_page_and_no_other(pages: dict[str, str], component: str) -> None:
    both, predictor, transformer = re.split(r"\n## (?=Both services|The predictor|The transformer)", PAGE)[1:]
    own = predictor if component == "predictor" else transformer
    documented = set(re.findall(r"^\| `(yiwen_\w+)` \|", both + own, re.MULTILINE))
    page = pages[component]
    found = {
        f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
        for name, kind in re.findall(r"^# TYPE (yiwen_\w+) (\w+)$", page, re.MULTILINE)
    }
    assert found == documented
    samples = [line for line in page.splitlines() if line.startswith("yiwen_")]
    assert [s for s in samples if f'component="{component}"' not in s or 'release="' not in s] == []


def test_the_golden_signals_say_endpoint_api_and_code(pages: dict[str, str]) -> None:
    page = pages["transformer"]
    assert sample_sum(page, 'yiwen_requests_total{api="v2",endpoint="infer",code="ok",status="200"}') >= 2
    assert sample_sum(page, 'yiwen_requests_total{endpoint="generate_stream",code="ok"}') >= 1
    code = 'endpoint="infer",status="404",code="language_unknown"'
    assert sample_sum(page, f"yiwen_requests_total{{{code}}}") >= 1
    assert sample_sum(page, 'yiwen_request_seconds_count{endpoint="infer",code_class="4xx"}') >= 1
    assert sample_sum(page, 'yiwen_requests_rejected_total{status="404",code="language_unknown"}') >= 1


def test_the_predictor_measures_tokens_and_their_times(pages: dict[str, str]) -> None:
    page = pages["predictor"]
    started = sample_sum(page, "yiwen_predictor_sequence_prompt_tokens_count")
    assert started >= 9
    assert sample_sum(page, "yiwen_predictor_time_to_first_token_seconds_count") == started
    assert sample_sum(page, "yiwen_predictor_sequence_prompt_tokens_sum") == sample_sum(
        page, 'yiwen_predictor_tokens_total{kind="prompt"}'
    )
    queued, first = (
        sample_sum(page, f"yiwen_predictor_{name}_seconds_sum") for name in ("queue", "time_to_first_token")
    )
    assert 0 <= queued < first
    assert sample_sum(page, "yiwen_predictor_time_per_output_token_seconds_sum") > 0


def test_the_transformer_measures_tokens_characters_and_the_first_text(pages: dict[str, str]) -> None:
    page = pages["transformer"]
    pair = 'source="en",target="zh"'
    assert sample_sum(page, f'yiwen_transformer_tokens_total{{{pair},kind="prompt"}}') > 0
    assert sample_sum(page, f'yiwen_transformer_tokens_total{{{pair},kind="generated"}}') > 0
    assert sample_sum(page, f'yiwen_transformer_characters_total{{{pair},cache="miss"}}') > 0
    assert sample_sum(page, "yiwen_transformer_time_to_first_text_seconds_count") >= 1
    assert sample_sum(page, 'yiwen_transformer_queue_seconds_count{queue="connection"}') >= 2


@pytest.mark.parametrize("component", ["transformer", "predictor"])
def test_a_start_has_its_phases(pages: dict[str, str], component: str) -> None:
    samples = re.findall(r'^yiwen_cold_start_seconds\{.*phase="(\w+)".*\} (\S+)$', pages[component], re.M)
    seconds = {phase: float(value) for phase, value in samples}
    assert set(seconds) == {"import", "load", "warm_up"}
    assert 0 < sum(seconds.values()) < 120


def test_the_queries_of_the_page_are_promql_over_metrics_that_exist(
    pages: dict[str, str], tmp_path: Path
) -> None:
    table = PAGE.split("## Questions and their queries")[1].split("\n## ")[0]
    queries = [query.replace(r"\|", "|") for query in re.findall(r"\| `(.+)` \|$", table, re.MULTILINE)]
    assert len(queries) > 10
    check_queries(queries, tmp_path)
    names = {name for query in queries for name in re.findall(r"\byiwen_\w+", query)}
    samples = set(re.findall(r"^(yiwen_\w+)\{", "\n".join(pages.values()), re.MULTILINE))
    assert names <= samples
