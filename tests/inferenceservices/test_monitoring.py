"""The component monitoring: its alerts fire when they should, and its queries ask for what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from inferenceservices.check import ROOT
from predictor.metrics import EngineMetrics
from serving.metrics import LATENCY_BUCKETS, ProcessMetrics, RequestMetrics
from tests.inferenceservices.builds import documents_of
from tests.inferenceservices.promql import Selector, grouping_labels, selectors
from tests.promtool import check_queries, check_rules, complaints_about_alerts, queries_without_result
from transformer.metrics import TransformerMetrics

DOCS = ROOT.parent / "docs"
COMPONENT = ROOT / "components" / "monitoring"
GROUPS: list[dict[str, Any]] = yaml.safe_load((COMPONENT / "rules.yaml").read_text())["spec"]["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "alert_cases.yaml").read_text())
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in (COMPONENT / "dashboards").glob("*.json")}
PANELS = [panel for dashboard in DASHBOARDS.values() for panel in dashboard["panels"]]
QUERIES = [
    *(rule["expr"] for rule in RULES),
    *(target["expr"].replace("$__rate_interval", "5m") for panel in PANELS for target in panel["targets"]),
]

OF_TARGETS = {"namespace", "pod", "container", "job", "instance", "serving_knative_dev_revision"}
"""Labels that every sample has from its target."""
KNATIVE = {"kn_revision_name", "k8s_namespace_name"}
FOREIGN = {
    "up": set[str](),
    "process_start_time_seconds": set[str](),
    # kube-state-metrics, docs/metrics/workload/pod-metrics.md
    "kube_pod_created": {"uid"},
    "kube_pod_status_phase": {"uid", "phase"},
    "kube_pod_container_status_restarts_total": {"uid"},
    # oliver006/redis_exporter, exporter/exporter.go
    "redis_memory_used_bytes": set[str](),
    "redis_memory_max_bytes": set[str](),
    "redis_evicted_keys_total": set[str](),
    # knative/serving 1.19 and later, pkg/autoscaler/scaling/metrics.go
    "kn_revision_pods_desired": KNATIVE,
    "kn_revision_capacity_excess": KNATIVE,
    "kn_revision_panic_mode": KNATIVE,
    "kn_revision_concurrency_stable": KNATIVE,
    "kn_revision_concurrency_panic": KNATIVE,
    "kn_revision_concurrency_target": KNATIVE,
    # NVIDIA/dcgm-exporter, etc/dcp-metrics-included.csv
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": {"Hostname", "gpu", "GPU_I_ID", "exported_namespace"},
}
"""Metrics of other programs with the labels that we use, and where they are defined."""


def _own_metrics() -> dict[str, set[str]]:
    """Labels of every series of ours by name: docs/metrics.md, which `make check` compares with the services."""
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for name, kind, labels in re.findall(
        r"^\| `(yiwen_\w+)` \| (\w+) \| [^|]+ \| ([^|]*) \|", page, re.MULTILINE
    ):
        own = {*re.findall(r"`(\w+)`", labels), "component", "release"}
        if kind == "histogram":
            found |= {f"{name}_bucket": {*own, "le"}, f"{name}_sum": own, f"{name}_count": own}
        else:
            found[name] = own
    return found


METRICS = {**_own_metrics(), **FOREIGN, **{name: set[str]() for name in RECORDED}}


def _known_values() -> dict[tuple[str, str], set[str]]:
    """Values of labels, of the counters that start with all of them, by metric and label."""
    registry = CollectorRegistry()
    ProcessMetrics(version="", revision="", release="", registry=registry)
    RequestMetrics("", registry)
    EngineMetrics(registry)
    TransformerMetrics(registry)
    found: dict[tuple[str, str], set[str]] = {}
    for family in registry.collect():
        for sample in family.samples if family.type == "counter" else ():
            for label, value in sample.labels.items():
                found.setdefault((sample.name, label), set()).add(value)
    return found


def _unknown_values(selector: Selector, known: Mapping[tuple[str, str], set[str]]) -> list[str]:
    """Values that a selector's conditions name and that the metric never has."""
    return [
        f"{selector.name}{{{matcher.label}}} is never {value}"
        for matcher in selector.matchers
        for values in [known.get((selector.name, matcher.label))]
        if values
        for value in (matcher.value.split("|") if "~" in matcher.operator else [matcher.value])
        if not any(re.fullmatch(value, each) for each in values)
    ]


def _unit_test(case: Mapping[str, Any], fires: Mapping[str, Any] | None) -> dict[str, Any]:
    """A case as promtool's unit test."""
    rule = ALERTS[case["alert"]]
    expected = []
    if fires is not None:
        labels = {**rule["labels"], **fires["labels"]}
        annotations = {**rule["annotations"], "description": fires["description"]}
        expected = [{"exp_labels": labels, "exp_annotations": annotations}]
    return {
        "name": case["case"],
        "interval": "1m",
        "input_series": [
            {"series": series, "values": str(values)} for series, values in case["series"].items()
        ],
        "alert_rule_test": [{"eval_time": case["at"], "alertname": case["alert"], "exp_alerts": expected}],
    }


def _rules_of(alert: str) -> list[dict[str, Any]]:
    """A group with an alert and what it needs to be recorded: promtool evaluates all that it is given."""
    rule = ALERTS[alert]
    needed = {selector.name for selector in selectors(rule["expr"])}
    return [{"name": alert, "rules": [*(r for r in RULES if r.get("record") in needed), rule]}]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    tests = [_unit_test(case, case.get("fires")) for case in CASES if case["alert"] == alert]
    assert complaints_about_alerts(_rules_of(alert), tests, tmp_path) == ""


def test_promtool_complains_about_a_case_that_does_not_hold(tmp_path: Path) -> None:
    case = next(case for case in CASES if "fires" in case)
    rules = _rules_of(case["alert"])
    assert case["fires"]["description"] in complaints_about_alerts(rules, [_unit_test(case, None)], tmp_path)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet(alert: str) -> None:
    assert {"fires" in case for case in CASES if case["alert"] == alert} == {True, False}


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    check_rules(GROUPS, tmp_path)


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    check_queries(QUERIES, tmp_path)


@pytest.mark.parametrize("query", sorted(set(QUERIES)))
def test_queries_ask_for_metrics_and_labels_that_are_there(query: str) -> None:
    found = selectors(query)
    assert found
    assert {selector.name for selector in found} - METRICS.keys() == set()
    for selector in found:
        labels = {matcher.label for matcher in selector.matchers}
        assert labels - METRICS[selector.name] - OF_TARGETS == set(), selector.name
    everywhere = set[str]().union(OF_TARGETS, *(METRICS[selector.name] for selector in found))
    assert grouping_labels(query) - everywhere == set()


def _series(selector: Selector) -> Iterator[str]:
    """Series that a selector selects: of two releases, each with two pods."""
    own = METRICS[selector.name]
    wanted = {
        matcher.label: "500" if matcher.value == "5.." else matcher.value.split("|")[0]
        for matcher in selector.matchers
        if not matcher.operator.startswith("!")
    }
    for release, pod, le in product("ab", "pq", ("1.0", "+Inf") if "le" in own else ("",)):
        values = {"release": release, "pod": release + pod, "le": le}
        labels = {label: wanted.get(label, values.get(label, "x")) for label in sorted(own | OF_TARGETS)}
        yield f"{selector.name}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"


def test_every_panel_has_a_result_where_its_metrics_are_there(tmp_path: Path) -> None:
    queries = [t["expr"].replace("$__rate_interval", "5m") for panel in PANELS for t in panel["targets"]]
    series = sorted({each for query in queries for s in selectors(query) for each in _series(s)})
    assert queries_without_result(queries, series, tmp_path) == []


def test_a_query_that_fails_or_has_no_result_is_found(tmp_path: Path) -> None:
    good, empty, failing = "sum(up)", "absent(up)", "up / on (pod) up"
    series = ['up{pod="a",job="x"}', 'up{pod="a",job="y"}']
    assert queries_without_result([good, empty, failing], series, tmp_path) == [empty, failing]


def test_conditions_name_values_that_labels_can_have() -> None:
    known = _known_values()
    assert known["yiwen_requests_rejected_total", "code"]
    unknown = [u for query in QUERIES for s in selectors(query) for u in _unknown_values(s, known)]
    assert unknown == []


def test_slow_means_a_bucket_that_histograms_have() -> None:
    bounds = {m.value for query in QUERIES for s in selectors(query) for m in s.matchers if m.label == "le"}
    assert {float(bound) for bound in bounds} <= set(LATENCY_BUCKETS)


def test_a_query_of_a_metric_that_is_not_there_is_found() -> None:
    (selector,) = selectors(
        'sum by (code) (rate(yiwen_request_total{code=~"internl|ok",status!="200"}[5m])) > 0'
    )
    assert selector.name not in METRICS
    typo = Selector(
        "yiwen_transformer_redis_writes_total", selectors('x{result=~"stored|faild"}')[0].matchers
    )
    assert _unknown_values(typo, _known_values()) == [
        "yiwen_transformer_redis_writes_total{result} is never faild"
    ]


def test_panels_select_the_chosen_namespace_in_every_selector() -> None:
    for panel in PANELS:
        for selector in (s for target in panel["targets"] for s in selectors(target["expr"])):
            namespaces = {
                m.value for m in selector.matchers if m.label.endswith(("namespace", "namespace_name"))
            }
            assert namespaces == {"$namespace"}, panel["title"]


def test_legends_name_labels_that_the_query_keeps() -> None:
    for target in (target for panel in PANELS for target in panel["targets"]):
        kept = grouping_labels(target["expr"]) | set(
            re.findall(r'count_values by \(\w+\) \("(\w+)"', target["expr"])
        )
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, target["expr"]


def test_every_alert_has_a_runbook_that_says_what_to_do_and_there_is_no_other() -> None:
    assert {path.stem for path in (DOCS / "runbooks").glob("*.md")} == ALERTS.keys()
    for alert, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{alert}.md"
        page = (DOCS / "runbooks" / f"{alert}.md").read_text(encoding="utf-8")
        assert re.findall(r"^#+ (.*)$", page, re.MULTILINE) == [
            alert, "What it means", "What to look at", "What to do"
        ]  # fmt: skip


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def _is_there(link: str, page: Path) -> bool:
    """Whether a relative link of a page leads to a file, and to a heading of it where it names one."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in _anchors(target))


@pytest.mark.parametrize(
    "page",
    [*sorted((DOCS / "runbooks").glob("*.md")), DOCS / "guides" / "monitoring.md"],
    ids=lambda p: p.stem,
)
def test_pages_name_panels_metrics_settings_and_places_that_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    settings = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\*([^*\n]+\?)\*", text)) <= {panel["title"] for panel in PANELS}
    assert set(re.findall(r"`(yiwen_\w+)`", text)) <= METRICS.keys()
    assert [name for name in re.findall(r"YIWEN_\w+", text) if f"`{name}`" not in settings] == []
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not _is_there(link, page)] == []


def test_a_link_to_a_heading_that_is_not_there_is_found() -> None:
    page = DOCS / "runbooks" / "YiwenTargetDown.md"
    assert _is_there("../caching.md#when-redis-fails", page)
    assert not _is_there("../caching.md#when-redis-fail", page)
    assert not _is_there("../cachin.md", page)


def test_the_guide_lists_every_alert() -> None:
    guide = (DOCS / "guides" / "monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"runbooks/(\w+)\.md", guide)) == ALERTS.keys()


def test_overlays_have_rules_and_dashboards_in_their_namespace() -> None:
    documents = {(each["kind"], each["metadata"]["name"]): each for each in documents_of("overlays/staging")}
    rules, dashboards = documents["PrometheusRule", "yiwen"], documents["ConfigMap", "yiwen-dashboards"]
    assert rules["metadata"]["namespace"] == dashboards["metadata"]["namespace"] == "yiwen-staging"
    assert rules["spec"]["groups"] == GROUPS
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in dashboards["data"].items()} == {
        f"{uid}.json": dashboard for uid, dashboard in DASHBOARDS.items()
    }


@pytest.mark.parametrize("job", ["production", "standard", "staging"])
def test_release_jobs_bring_neither_rules_nor_dashboards(job: str) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in documents_of(f"release-jobs/{job}")}
    assert names & {("PrometheusRule", "yiwen"), ("ConfigMap", "yiwen-dashboards")} == set()
