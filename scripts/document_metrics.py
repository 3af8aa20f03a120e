"""Writes docs/metrics.md from the metrics that the services register: names, types, labels and help texts.

`make check` fails if the page is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from generated_page import ROOT, write_or_check
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from predictor.metrics import EngineMetrics
from serving.metrics import ConnectionMetrics, ProcessMetrics, RequestMetrics
from transformer.metrics import TransformerMetrics

PAGE = ROOT / "docs" / "metrics.md"

HEAD = """# Metrics

Both services answer `GET /metrics` in Prometheus' text format, or in OpenMetrics where the scraper asks for it:
on the port of REST, or on `YIWEN_METRICS_PORT` alone. Nothing in them holds a text.

- Every metric named `yiwen_*` also has the labels `component` (`predictor`, `transformer`) and `release` (its id).
  A miss is a request to both services: say `component="transformer"` to count callers' requests.
- The component `monitoring` adds the pod and Knative's revision (`serving_knative_dev_revision`).
- Counters whose label values are known are there from the start at 0, so that `increase()` sees the first event.
  Those by language pair, endpoint or caller appear with the first request.
- `promtool check metrics` has nothing to say about either service.

This page is written by `python scripts/document_metrics.py`.
"""

QUESTIONS = (
    (
        "Requests a second, by API and endpoint",
        'sum by (api, endpoint) (rate(yiwen_requests_total{component="transformer"}[5m]))',
    ),
    (
        "Share of failed requests, by release",
        'sum by (release) (rate(yiwen_requests_total{component="transformer",status=~"5.."}[5m])) '
        '/ sum by (release) (rate(yiwen_requests_total{component="transformer"}[5m]))',
    ),
    (
        "99th percentile of latency, by release",
        "histogram_quantile(0.99, sum by (release, le) (rate(yiwen_request_seconds_bucket"
        '{component="transformer",code_class="2xx",endpoint!="generate_stream"}[5m])))',
    ),
    (
        "Why 429 and 503",
        'sum by (component, code) (rate(yiwen_requests_rejected_total{status=~"429|503"}[5m])) > 0',
    ),
    (
        "Why slow: waiting for a slot",
        "histogram_quantile(0.99, sum by (le) (rate(yiwen_predictor_queue_seconds_bucket[5m])))",
    ),
    (
        "Why slow: time to the first token",
        "histogram_quantile(0.99, sum by (le) (rate(yiwen_predictor_time_to_first_token_seconds_bucket[5m])))",
    ),
    (
        "Why slow: time per token",
        "histogram_quantile(0.5, sum by (le) (rate(yiwen_predictor_time_per_output_token_seconds_bucket[5m])))",
    ),
    (
        "Share of texts from the cache, by pair",
        'sum by (source, target) (rate(yiwen_transformer_segments_total{cache="hit"}[1h])) '
        "/ sum by (source, target) (rate(yiwen_transformer_segments_total[1h]))",
    ),
    (
        "Characters a second, by pair",
        "sum by (source, target) (rate(yiwen_transformer_characters_total[1h]))",
    ),
    ("Is the device busy, 0 to 1", "avg(rate(yiwen_predictor_busy_seconds_total[5m]))"),
    ("What a cold start takes, by phase", "max by (component, phase) (yiwen_cold_start_seconds)"),
    (
        "What a cold start takes before its process starts: scheduling, pulling (needs kube-state-metrics)",
        "max by (pod) (process_start_time_seconds - on (namespace, pod) group_left () kube_pod_created)",
    ),
    (
        "Which versions and releases run",
        "count by (component, version, revision, release) (yiwen_build_info)",
    ),
)
"""On-call's questions, and the PromQL that answers them."""

PICKER = """
## The endpoint picker of the Gateway API inference extension

It picks the predictor of a request by three gauges, which by default have vLLM's names. Ours have the same meaning,
with sequences in place of requests. Its configuration names them, in a field of an engine of the plugin
`model-server-protocol-metrics`; older versions have a flag instead, which newer ones refuse:

{table}
There is none for LoRA adapters: leave `loraSpec` out, or set the flag `lora-info-metric` to nothing.
"""

PICKER_GAUGES = (
    (
        "vllm:num_requests_waiting",
        "yiwen_predictor_waiting_sequences",
        "queuedRequestsSpec",
        "total-queued-requests-metric",
    ),
    (
        "vllm:num_requests_running",
        "yiwen_predictor_slots_used",
        "runningRequestsSpec",
        "total-running-requests-metric",
    ),
    (
        "vllm:kv_cache_usage_perc",
        "yiwen_predictor_kv_cache_usage",
        "kvUsageSpec",
        "kv-cache-usage-percentage-metric",
    ),
)
"""vLLM's gauge, ours, the field and the flag of the endpoint picker's configuration."""

UNITS = ("seconds", "bytes", "tokens", "characters", "sequences", "requests", "connections")
"""Found as the last word of a name, without ``_total``."""
OTHER_UNITS = {
    "info": "always 1",
    "usage": "0 to 1",
    "confidence": "0 to 1",
    "healthy": "0 or 1",
    "found": "0 or 1",
    "circuit": "state",
    "yiwen_predictor_slots": "sequences",
    "yiwen_predictor_slots_used": "sequences",
    "yiwen_requests_in_flight": "requests",
    "yiwen_requests_rejected": "requests",
    "yiwen_connections_closed": "connections",
    "yiwen_transformer_drain_tokens_per_second": "tokens per second",
    "yiwen_predictor_kv_bytes_used": "bytes",
    "yiwen_transformer_connections_refused": "requests",
    "yiwen_transformer_caller_refusals": "requests",
    "yiwen_transformer_admissions": "requests",
    "yiwen_transformer_cold_start_waits": "requests",
    "yiwen_transformer_cold_start_waiters": "requests",
    "yiwen_transformer_predictor_sends": "requests",
    "yiwen_transformer_predictor_retries": "requests",
    "yiwen_transformer_gateway_errors": "responses",
    "yiwen_transformer_release_searches": "searches",
    "yiwen_transformer_cache_lookups": "texts",
    "yiwen_transformer_cache_tier_lookups": "texts",
    "yiwen_transformer_cache_entries": "translations",
    "yiwen_transformer_redis_writes": "translations",
    "yiwen_transformer_redis_errors": "commands",
    "yiwen_transformer_lease_acquisitions": "leases",
    "yiwen_transformer_leases_held": "leases",
    "yiwen_transformer_segments": "texts",
    "yiwen_transformer_text_errors": "texts",
    "yiwen_transformer_guard_failures": "answers",
    "yiwen_transformer_single_flight": "texts",
    "yiwen_transformer_single_flight_events": "texts",
    "yiwen_predictor_step_failures": "steps",
    "yiwen_predictor_graph_launches": "launches",
}
"""By the last word or the whole name."""

SECTIONS: tuple[tuple[str, str, Callable[[CollectorRegistry], object]], ...] = (
    ("Both services", "serving", lambda registry: _serving(registry)),
    ("The predictor", "predictor", EngineMetrics),
    ("The transformer", "transformer", TransformerMetrics),
)

TAIL = """
Beside these there are `process_*` and `python_*` of the Prometheus client. GPUs have metrics of NVIDIA's DCGM
exporter; on a MIG slice take `DCGM_FI_PROF_GR_ENGINE_ACTIVE`, since `DCGM_FI_DEV_GPU_UTIL` has no value there.
"""


class _RecordingRegistry(CollectorRegistry):
    """Remembers what is registered, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Any] = []

    def register(self, collector: Collector) -> None:
        self.collectors.append(collector)
        super().register(collector)


def page() -> str:
    """The whole page."""
    questions = "".join(f"| {question} | `{_cell(query)}` |\n" for question, query in QUESTIONS)
    gauges = "".join(f"| {' | '.join(f'`{cell}`' for cell in row)} |\n" for row in PICKER_GAUGES)
    picker = PICKER.format(table=f"| it expects | ours | field | flag |\n|---|---|---|---|\n{gauges}")
    parts = [HEAD, f"## Questions and their queries\n\n| question | query |\n|---|---|\n{questions}{picker}"]
    for title, room, register in SECTIONS:
        registry = _RecordingRegistry()
        register(registry)
        rows = "".join(_row(metric) for metric in registry.collectors)
        parts.append(
            f"## {title}\n\nDefined in `{room}/`.\n\n"
            f"| name | type | unit | labels | what it tells |\n|---|---|---|---|---|\n{rows}"
        )
    return "\n".join(parts) + TAIL


def _cell(query: str) -> str:
    """A query as code in a table."""
    return query.replace("|", r"\|")


def _serving(registry: CollectorRegistry) -> None:
    ProcessMetrics(version="", revision="", release="", registry=registry)
    RequestMetrics("", registry)
    ConnectionMetrics(registry)


def _row(metric: Any) -> str:  # noqa: ANN401  the client has no public access to a metric's labels
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    text = family.documentation.rstrip(".")
    return f"| `{name}` | {family.type} | {unit_of(family.name)} | {labels} | {text} |\n"


def unit_of(name: str) -> str:
    """The unit of a metric, by its name without ``_total``.

    Raises:
        KeyError: neither its name nor the table says one.
    """
    last = re.split("_", name)[-1]
    if name in OTHER_UNITS:
        return OTHER_UNITS[name]
    return last if last in UNITS else OTHER_UNITS[last]


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
