from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable

import httpx
import pytest

from serving.sampling import Sampling, TraceParent
from serving.settings import SettingsError
from serving.tracing import create_tracer
from tests.otlp_collector import running_collector
from tests.ports import free_port
from tests.serving.conftest import MODEL, Server, ask

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN, is_sampled=True)),
        (f"00-{TRACE}-{SPAN}-02", TraceParent(TRACE, SPAN, is_sampled=False)),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-00", None),
        ("00-the caller's own words-1-00", None),
        ("", None),
    ],
)
def test_the_header_says_trace_and_decision(header: str, found: TraceParent | None) -> None:
    assert TraceParent.of({"traceparent": header}) == found


@pytest.mark.parametrize(
    ("sampler", "share", "new", "of_sampled", "of_unsampled"),
    [
        ("", "", True, True, False),
        ("parentbased_always_off", "", False, True, False),
        ("parentbased_traceidratio", "0.25", False, True, False),
        ("always_off", "", False, False, False),
        ("always_on", "", True, True, True),
        ("traceidratio", "0.99", True, True, True),
        ("traceidratio", "0.25", False, False, False),
    ],
)
def test_samplers_decide_about_new_traces_and_about_callers(
    sampler: str, share: str, new: bool, of_sampled: bool, of_unsampled: bool
) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": share}
    sampling = Sampling.from_environment(environ)
    assert sampling.samples(None, 0.5) == new
    assert sampling.samples(TraceParent(TRACE, SPAN, is_sampled=True), 0.5) == of_sampled
    assert sampling.samples(TraceParent(TRACE, SPAN, is_sampled=False), 0.5) == of_unsampled


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_traced(environ: dict[str, str]) -> None:
    assert create_tracer(environ, {}, "yiwen") is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is there"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "only http/protobuf is there"),
        (
            {"OTEL_TRACES_SAMPLER": "sometimes"},
            "there is no sampler sometimes here: take parentbased_always_on",
        ),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, "OTEL_TRACES_SAMPLER_ARG must be the share"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "5%"}, "such as 0.05"),
    ],
)
def test_wrong_variables_say_how_to_mend_them(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_tracer({**ENDPOINT, **environ}, {}, "yiwen")


def test_a_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="install Yiwen with the extra `tracing`"):
        create_tracer(ENDPOINT, {}, "yiwen")


def test_a_server_ends_with_what_is_wrong(start_server: Callable[..., Server]) -> None:
    server = start_server(OTEL_EXPORTER_OTLP_PROTOCOL="grpc", **ENDPOINT)
    assert server.process.wait(timeout=60) == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in server.log()


def test_the_ratio_samples_new_traces_and_what_waits_is_sent_at_the_end(
    start_server: Callable[..., Server],
) -> None:
    with running_collector() as collector:
        server = start_server(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0.25",
            OTEL_SERVICE_NAME="mine",
            OTEL_BSP_SCHEDULE_DELAY="60000",
        ).wait_ready()
        with httpx.Client() as client:
            for number in range(200):
                answer = client.post(server.infer_url, json=ask(f"text {number}"))
                assert answer.status_code == 200
        server.signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert 20 <= len(collector.spans) <= 85  # a quarter of 200, and chance: 1 in a million is outside
        assert {(span.service, span.name) for span in collector.spans} == {("mine", "v2 infer")}
        assert len({span.trace_id for span in collector.spans}) == len(collector.spans)


def test_a_collector_that_is_gone_holds_up_neither_requests_nor_the_end(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", OTEL_BSP_SCHEDULE_DELAY="10"
    ).wait_ready()
    for _ in range(5):
        assert httpx.post(f"{server.url}/v2/models/{MODEL}/infer", json=ask("hello")).status_code == 200
    ended = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0
    assert time.monotonic() - ended < 20
