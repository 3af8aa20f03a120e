"""`yiwen cost` on a real Prometheus that scraped real servers, and on the log lines that these wrote."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cli.__main__ import main
from cli.cost import duration_s
from cli.prometheus import PrometheusClient
from knative.planner import capacity
from tests.e2e.conftest import Service, running_service
from tests.http_servers import open_server, serving
from tests.metric_samples import sample_sum
from tests.prometheus_server import running_prometheus

TEXTS = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("shoes", "shirts", "hats")]
CHARACTERS = 2 * sum(map(len, TEXTS))
KUBE_STATE_METRICS = b"""\
kube_pod_container_resource_requests{namespace="demo",pod="predictor-1",resource="nvidia_com_mig_1g_18gb"} 1
kube_pod_container_resource_requests{namespace="demo",pod="predictor-1",resource="cpu"} 4
kube_pod_info{namespace="demo",pod="predictor-1",node="n1"} 1
kube_node_labels{node="n1",label_node_kubernetes_io_instance_type="p5e.48xlarge"} 1
"""
"""As kube-state-metrics 2.13 writes them with the node's label in its allow-list."""
BRIEF = b"""\
yiwen_build_info{namespace="brief",pod="predictor-1",component="predictor"} 1
yiwen_request_seconds_bucket{namespace="brief",component="transformer",code_class="2xx",le="0.1"} 0
yiwen_request_seconds_bucket{namespace="brief",component="transformer",code_class="2xx",le="0.2"} 100
yiwen_request_seconds_bucket{namespace="brief",component="transformer",code_class="2xx",le="+Inf"} 100
"""
"""Of a service that answered all its requests before it was read first."""
PRICES = """
currency: EUR
prices:
  - {slice: 1g.18gb, node: p5e.48xlarge, per_hour: 3600}
"""
Shown = Callable[[], dict[str, Any]]


class KubeStateMetrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(KUBE_STATE_METRICS + BRIEF)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Scraped:
    """A service that translated every text twice for one caller."""

    prometheus: str
    log: Path
    caller: str
    busy_seconds: float
    generated_tokens: float
    hit_share: float
    """Of the second half of the texts some are generated again, since a guard had objected."""
    started: float
    """``time.monotonic`` when its processes were about to start."""


@pytest.fixture(scope="module")
def scraped(random_release_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    directory = tmp_path_factory.mktemp("cost")
    log, keys = directory / "log", directory / "keys.json"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["keys", "create", "shop", "--file", str(keys), "--json"]) == 0
    key = json.loads(said.getvalue())
    started = time.monotonic()
    settings = {"YIWEN_LOG_FORMAT": "json", "YIWEN_API_KEYS_FILE": str(keys)}
    server = open_server(KubeStateMetrics)
    with running_service(random_release_dir, log, **settings) as service, serving(server):
        targets = {
            urlsplit(service.url).netloc: {"namespace": "demo", "pod": "transformer-1"},
            urlsplit(service.predictor_url).netloc: {"namespace": "demo", "pod": "predictor-1"},
            f"127.0.0.1:{server.server_port}": {},
        }
        with running_prometheus(directory, targets) as url:
            _until(url, 'count(yiwen_build_info{namespace="demo"})', 2)
            for rounds in (1, 2):  # what is in the first scrape of a counter is no increase of it
                for text in TEXTS:
                    _translate(service, text, key["key"])
                _until(url, "sum(yiwen_transformer_characters_total)", CHARACTERS * rounds / 2)
            counted = httpx.get(f"{service.url}/metrics").text
            tokens = sample_sum(counted, 'yiwen_transformer_tokens_total{kind="generated"}')
            _until(url, 'sum(yiwen_transformer_tokens_total{kind="generated"})', tokens)
            seen = 'count by (component) (yiwen_build_info{namespace="demo"})'
            _until(url, f"count(sum_over_time(({seen})[30s:1s]) > 1)", 2)
            hits = sample_sum(counted, 'yiwen_transformer_segments_total{cache="hit"}') / 2 / len(TEXTS)
            busy = service.metric("yiwen_predictor_busy_seconds_total")
            yield Scraped(url, log, key["id"], busy, tokens, hits, started)


def _translate(service: Service, text: str, key: str) -> None:
    body = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "parameters": {"source": "en", "target": "zh"},
    }
    model = httpx.get(f"{service.url}/v2/models").json()["models"][0]
    headers = {"Authorization": f"Bearer {key}"}
    httpx.post(
        f"{service.url}/v2/models/{model}/infer", json=body, headers=headers, timeout=60
    ).raise_for_status()


def _until(url: str, query: str, value: float) -> None:
    client, end = PrometheusClient(url, timeout_s=10), time.monotonic() + 60
    while [found for _, found in client.query(query)] != [value]:
        assert time.monotonic() < end, query
        time.sleep(0.05)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    def read() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return read


def test_prometheus_knows_pods_slices_nodes_pairs_and_callers(
    scraped: Scraped, shown: Shown, tmp_path: Path
) -> None:
    (tmp_path / "prices.yaml").write_text(PRICES, encoding="utf-8")
    since = f"{int(time.monotonic() - scraped.started) + 5}s"
    command = ["cost", "--prometheus", scraped.prometheus, "--since", since, "-n", "demo", "--json"]
    assert main([*command, "--prices", str(tmp_path / "prices.yaml")]) == 0
    bill = shown()
    predictor, transformer = bill["pods"]
    assert (predictor["slice"], predictor["node_type"]) == ("1g.18gb", "p5e.48xlarge")
    assert 0 < predictor["hours"] * 3600 <= float(since[:-1])
    assert bill["cost"] == pytest.approx(predictor["hours"] * 3600)  # one EUR a second
    assert (transformer["component"], transformer["cost"]) == ("transformer", 0)
    assert predictor["busy_hours"] * 3600 == pytest.approx(scraped.busy_seconds, rel=0.05)
    assert predictor["idle_share"] == pytest.approx(1 - predictor["busy_hours"] / predictor["hours"])
    (pair,) = bill["pairs"]
    assert pair["name"] == "en-zh"
    assert (pair["characters"], pair["texts"]) == (CHARACTERS, 2 * len(TEXTS))
    assert pair["hit_share"] == pytest.approx(scraped.hit_share)
    assert pair["generated_tokens"] == scraped.generated_tokens
    assert pair["cost"] == pytest.approx(bill["cost"])
    (caller,) = bill["callers"]
    assert caller["name"] == scraped.caller
    assert caller["cost"] == pytest.approx(bill["cost"])
    assert bill["requests"] == 2 * len(TEXTS)
    assert bill["p99_s"] > 0


def test_a_service_that_answered_before_its_first_scrape_has_a_p99(scraped: Scraped, shown: Shown) -> None:
    assert main(["cost", "--prometheus", scraped.prometheus, "--since", "5m", "-n", "brief", "--json"]) == 0
    assert shown()["p99_s"] == pytest.approx(0.199)


def test_log_lines_of_the_same_servers_give_the_same_to_the_last_character(
    scraped: Scraped, shown: Shown, tmp_path: Path
) -> None:
    packed = tmp_path / "both.log.gz"
    packed.write_bytes(gzip.compress(scraped.log.read_bytes()))
    assert main(["cost", str(packed), "--price-per-hour", "3600", "--slice", "1g.18gb", "--json"]) == 0
    bill = shown()
    (pair,), (caller,) = bill["pairs"], bill["callers"]
    for part in (pair, caller):
        assert (part["characters"], part["texts"]) == (CHARACTERS, 2 * len(TEXTS))
        assert (part["hit_share"], part["generated_tokens"]) == (
            pytest.approx(scraped.hit_share),
            scraped.generated_tokens,
        )
    assert (pair["name"], caller["name"]) == ("en-zh", scraped.caller)
    assert bill["requests"] == 2 * len(TEXTS)
    predictor = next(each for each in bill["pods"] if each["component"] == "predictor")
    assert (predictor["slice"], predictor["pods"]) == ("1g.18gb", 1)
    assert 0 < predictor["busy_hours"] < predictor["hours"]
    assert bill["cost"] == pytest.approx(predictor["hours"] * 3600)


def test_what_people_read_has_pods_pairs_callers_and_the_sum(
    scraped: Scraped, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", str(scraped.log)]) == 0
    out = capsys.readouterr().out
    assert "en-zh" in out
    assert scraped.caller in out
    assert f"per million characters of {CHARACTERS}." in out
    assert "No prices: costs are hours of predictors' pods." in out


def test_a_plan_stands_beside_what_happened(
    scraped: Scraped,
    shown: Shown,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "REQUESTS", 200)
    monkeypatch.setattr(capacity, "SECONDS", 1.0)
    plan, checkpoint = tmp_path / "plan.json", "docs/guides/capacity/7b"
    command = ["plan", "--checkpoint", checkpoint, "--gpu", "h200", "--slice", "full", "--precision", "int8"]
    assert main([*command, "--qps", "2", "--p99-ms", "2000", "--hit-rate", "0.5", "-o", str(plan)]) == 0
    capsys.readouterr()
    assert main(["cost", str(scraped.log), "--price-per-hour", "2", "--plan", str(plan), "--json"]) == 0
    rows = {row.pop("what"): row for row in shown()["plan"]}
    planned, happened, again, _ = rows["characters per text"].values()
    assert planned == "60"
    assert happened == again == f"{CHARACTERS / 2 / len(TEXTS):.4g}"
    assert rows["hit rate"]["happened"] == f"{scraped.hit_share:.1%}"
    assert rows["predictor pods"]["planned"] == rows["predictor pods"]["planner, for what happened"] == "1"
    assert rows["predictor pods"]["happened"].endswith("at most 1")
    assert rows["per hour"]["planned"] == "3.60"
    assert rows["P99"]["happened"].endswith(" ms")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either log files or --prometheus"),
        (["a.log", "--prometheus", "http://127.0.0.1:1"], "give either log files or --prometheus"),
        (["nowhere.log"], "nowhere.log"),
        (["LOG", "--price-per-hour", "1", "--prices", "p.yaml"], "give one of --price-per-hour and --prices"),
        (["--prometheus", "http://127.0.0.1:1"], "no answer from Prometheus"),
        (["--prometheus", "http://127.0.0.1:1", "--pods", "2"], "--pods is for logs"),
        (["LOG", "--since", "week"], "--since week: give a duration"),
        (["LOG", "--plan", "LOG"], "Extra data"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(
    scraped: Scraped, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(scraped.log) if word == "LOG" else word for word in options]
    assert main(["cost", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_query_that_prometheus_refuses_is_an_error(
    scraped: Scraped, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", "--prometheus", scraped.prometheus, "-n", 'a"b']) == 2
    assert "refuses a query" in capsys.readouterr().err


def test_days_are_durations_too() -> None:
    assert duration_s("7d") == 7 * 86_400
    assert duration_s("1d12h") == 1.5 * 86_400
    assert duration_s("90s") == 90
    for text in ("d", "0s", "-1d", "nand"):
        with pytest.raises(ValueError, match="give a duration"):
            duration_s(text)
