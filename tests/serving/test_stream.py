"""Streams over real sockets: order, headers, errors before and after the start, callers that leave, drain."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.serving.conftest import MODEL, Server, wait_until

STREAM = f"/v2/models/{MODEL}/generate_stream"


def order(events: int, *, pause_s: float = 0.0, error: str | None = None) -> dict[str, Any]:
    return {"events": events, "pause_s": pause_s, "error": error}


def data(text: str) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data")]


def test_events_arrive_one_by_one(client: httpx.Client) -> None:
    with client.stream("POST", STREAM, json=order(3, pause_s=0.2), headers={"x-request-id": "s-1"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-request-id"] == "s-1"
        came = [(time.monotonic(), line) for line in answer.iter_lines() if line]
    assert [line for _, line in came] == ['data: {"n":0}', 'data: {"n":1}', 'data: {"n":2}']
    assert came[-1][0] - came[0][0] > 0.3


def test_a_failure_before_the_first_event_is_an_ordinary_error(client: httpx.Client) -> None:
    answer = client.post(STREAM, json=order(0, error="Overloaded 3"))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert answer.json() == {"error": "a Overloaded", "code": "overloaded"}


def test_a_failure_after_the_start_is_an_error_event_and_keeps_the_connection(
    client: httpx.Client, server: Server
) -> None:
    answer = client.post(STREAM, json=order(1, error="DeadlineExceeded"), headers={"x-request-id": "s-2"})
    assert answer.status_code == 200
    assert answer.text.split("\n\n")[1].startswith("event: error\n")
    assert data(answer.text) == [
        {"n": 0},
        {"error": "a DeadlineExceeded", "code": "deadline_exceeded", "status": 504},
    ]
    assert server.log_of("s-2")[-1]["status"] == 504
    address = answer.extensions["network_stream"].get_extra_info("client_addr")
    again = client.post(STREAM, json=order(1))
    assert again.extensions["network_stream"].get_extra_info("client_addr") == address


def test_an_unexpected_failure_says_nothing_of_itself(client: httpx.Client) -> None:
    answer = client.post(STREAM, content=b"secret", headers={"x-request-id": "s-3"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error, request id s-3", "code": "internal"}


def test_another_models_stream_is_404_and_a_long_body_413(client: httpx.Client) -> None:
    other = client.post("/v2/models/other/generate_stream", json=order(1))
    assert other.status_code == 404
    assert "this server serves echo" in other.json()["error"]
    assert client.post(STREAM, content=b"x" * 10_000_000).status_code == 413
    assert client.get(STREAM).status_code == 405


@pytest.mark.parametrize("pause_s", [30.0, 0.02], ids=["before the start", "in the middle"])
def test_a_caller_that_hangs_up_cancels_the_work(server: Server, pause_s: float) -> None:
    body = json.dumps(order(10_000, pause_s=pause_s)).encode()
    head = f"POST {STREAM} HTTP/1.1\r\nHost: x\r\nX-Request-Id: gone-{pause_s}\r\nContent-Length: {len(body)}\r\n\r\n"
    started = server.state()["started"]
    with socket.create_connection(("127.0.0.1", server.http_port)) as caller:
        caller.sendall(head.encode() + body)
        wait_until(lambda: server.state()["started"] > started)
        if pause_s < 1:
            assert caller.recv(100)
        hung_up = time.monotonic()
    wait_until(lambda: server.state()["cancelled_at"] > hung_up)
    assert server.state()["cancelled_at"] - hung_up < 0.2
    assert server.log_of(f"gone-{pause_s}")[-1]["status"] == 499


def test_an_event_beside_the_answer_has_its_name(client: httpx.Client) -> None:
    answer = client.post(STREAM, json={**order(1), "named": "warming"})
    assert answer.text == 'event: warming\ndata: {"n":-1}\n\ndata: {"n":0}\n\n'


def test_a_caller_that_does_not_read_holds_the_stream_back(server: Server) -> None:
    begun, events = server.state()["started"], 2_000
    body = json.dumps({**order(events), "padding": 10_000}).encode()
    head = f"POST {STREAM} HTTP/1.0\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.http_port)) as caller:
        caller.sendall(head.encode() + body)
        sent = -1.0
        while sent != (sent := server.state()["started"]) or sent == begun:
            time.sleep(0.3)
        assert sent - begun < events * 0.8  # a part of 20 MB was not even made
        content = b""
        while part := caller.recv(1 << 20):
            content += part
    assert content.count(b"data: ") == events


def test_heartbeats_keep_a_silent_stream_open(start_server: Callable[..., Server]) -> None:
    server = start_server(YIWEN_HEARTBEAT_S="0.05").wait_ready()
    answer = httpx.post(server.url + STREAM, json=order(1, pause_s=0.5))
    assert answer.text.startswith(": heartbeat\n\n")
    assert answer.text.count(": heartbeat") >= 3
    assert answer.text.endswith('data: {"n":0}\n\n')


def test_a_draining_server_lets_a_stream_end(start_server: Callable[..., Server]) -> None:
    server = start_server().wait_ready()
    with httpx.stream("POST", server.url + STREAM, json=order(10, pause_s=0.1)) as answer:
        lines = answer.iter_lines()
        assert next(lines) == 'data: {"n":0}'
        server.signal()
        wait_until(lambda: httpx.get(f"{server.url}/v2/health/ready").status_code == 503)
        assert httpx.post(server.url + STREAM, json=order(1)).status_code == 503
        assert data("\n".join(lines)) == [{"n": number} for number in range(1, 10)]
    assert server.process.wait(10) == 0


def test_a_stream_longer_than_the_drain_gets_an_error(start_server: Callable[..., Server]) -> None:
    server = start_server(YIWEN_DRAIN_S="0.3").wait_ready()
    with httpx.stream("POST", server.url + STREAM, json=order(10_000, pause_s=0.01)) as answer:
        lines = answer.iter_lines()
        next(lines)
        server.signal()
        rest = list(lines)
    error = data("\n".join(rest))[-1]
    assert error["status"] == 503
    assert error["retry_after_s"] == 1.0
    assert "event: error" in rest
    assert server.process.wait(10) == 0
