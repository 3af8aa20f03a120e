"""The generate extension's whole answers: the same gate, table and cancellation as inference."""

from __future__ import annotations

import json
import socket
import time

import httpx

from tests.serving.conftest import MODEL, Server, wait_until
from tests.serving.test_stream import order

GENERATE = f"/v2/models/{MODEL}/generate"


def test_a_document_comes_back_as_json(client: httpx.Client) -> None:
    answer = client.post(GENERATE, json=order(7), headers={"x-request-id": "g-1"})
    assert (answer.status_code, answer.json()) == (200, {"n": 7})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "g-1"


def test_a_failure_has_its_status(client: httpx.Client, server: Server) -> None:
    answer = client.post(GENERATE, json=order(0, error="Overloaded 3"), headers={"x-request-id": "g-2"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json() == {"error": "a Overloaded", "code": "overloaded"}
    assert server.log_of("g-2")[-1]["status"] == 429


def test_another_model_is_not_found(client: httpx.Client) -> None:
    answer = client.post("/v2/models/other/generate", json=order(0))
    assert answer.status_code == 404
    assert MODEL in answer.json()["error"]


def test_a_caller_that_hangs_up_cancels_the_work(server: Server) -> None:
    body = json.dumps(order(0, pause_s=30.0)).encode()
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: x\r\nX-Request-Id: g-gone\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    started = server.state()["started"]
    with socket.create_connection(("127.0.0.1", server.http_port)) as caller:
        caller.sendall(head.encode() + body)
        wait_until(lambda: server.state()["started"] > started)
        hung_up = time.monotonic()
    wait_until(lambda: server.state()["cancelled_at"] > hung_up)
    assert server.state()["cancelled_at"] - hung_up < 0.2
    assert server.log_of("g-gone")[-1]["status"] == 499
